/* Plugins that are wrong in any way are refused with a reason that says which file and why, before their code runs where that can be
 * known; the others load. */
#include "plugin/support.h"

#include <elf.h>
#include <link.h>

#include "base/rng.h"
#include "plugin/library.h"

static void good_ones_load(void **state)
{
    static const char *const names[] = {"good", "small", "large", "long_options", "unknown_interface", "cuda"};
    static const char *const strategies[] = {"good", "small", "large", "long-options", "with-power", "beside-cuda"};
    (void)state;
    path folder = folder_make();
    for (size_t i = 0; i < 6; i++) {
        char as[64];
        (void)snprintf(as, sizeof as, "%s.so", names[i]);
        (void)fixture_copy(folder, names[i], as);
    }
    prn__registry *registry = open_registry(folder.text);
    for (size_t i = 0; i < 6; i++) {
        char as[64];
        prn_error error = PRN_ERROR_INIT;
        const prn_strategy *s = NULL;
        const prn__plugin_entry *entry = NULL;
        (void)snprintf(as, sizeof as, "/%s.so", names[i]);
        assert_loaded(registry, as);
        assert_int_equal(prn__registry_strategy(registry, strategies[i], &s, &entry, &error), PRN_OK);
        assert_ptr_equal(entry, entry_of(registry, as));
        assert_string_equal(entry->plugin->name, "fixture");
        assert_true(entry->digest.high != 0 || entry->digest.low != 0);
        assert_string_equal(s->name, strategies[i]);
        assert_true(s->struct_size >= offsetof(prn_strategy, plan) + sizeof s->plan);
        prn_strategy_instance *instance = NULL;
        prn_source sources[3];
        prn_stage_request request = {.struct_size = sizeof request, .sources = sources, .source_capacity = 3};
        const prn_time_line line = {.struct_size = sizeof line, .step_count = 3};
        assert_int_equal(s->open(prn__registry_host(registry), NULL, &instance, &error), PRN_OK);
        assert_ptr_equal(instance, prn__registry_host(registry)); /* the fixture keeps the host that it was given */
        assert_int_equal(s->plan(instance, &line, 3, &request, &error), PRN_OK);
        assert_int_equal(request.start_step, 2);
        assert_int_equal(request.sources[0].time_step, 3);
        s->close(instance);
    }
    prn__registry_destroy(registry);
}

static void a_smaller_table_is_filled_with_zeros(void **state)
{
    (void)state;
    path folder = folder_make();
    (void)fixture_copy(folder, "small", "small.so");
    (void)unsetenv("PERENNIAL_FIXTURE_RAN");
    prn__registry *registry = open_registry(folder.text);
    prn_error error = PRN_ERROR_INIT;
    const prn_strategy *s = NULL;
    assert_int_equal(prn__registry_strategy(registry, "small", &s, NULL, &error), PRN_OK);
    /* what follows the plugin's own table in its memory is no callback */
    assert_null(s->compose_loss);
    assert_null(s->compose_memory_loss);
    assert_null(s->compose_penalty);
    assert_null(s->change_gradient);
    assert_null(s->finish);
    assert_null(getenv("PERENNIAL_FIXTURE_RAN"));
    prn__registry_destroy(registry);
}

static void longer_options_are_read_by_their_own_stride(void **state)
{
    (void)state;
    path folder = folder_make();
    (void)fixture_copy(folder, "long_options", "long_options.so");
    prn__registry *registry = open_registry(folder.text);
    prn_error error = PRN_ERROR_INIT;
    const prn_strategy *s = NULL;
    prn__options *options = NULL;
    const prn__option_pair given = {"second", "0.75"};
    assert_int_equal(prn__registry_strategy(registry, "long-options", &s, NULL, &error), PRN_OK);
    assert_int_equal(s->option_count, 2);
    assert_int_equal(prn__options_parse(s->name, s->options, s->option_count, &given, 1, &options, &error), PRN_OK);
    assert_int_equal(prn__options_values(options)[0].integer, 3);
    assert_true(prn__options_values(options)[1].real == 0.75);
    prn__options_destroy(options);
    prn__registry_destroy(registry);
}

static void bad_ones_are_refused_and_the_others_load(void **state)
{
    static const struct {
        const char *name, *reason;
    } bad[] = {
        {"wrong_major", "built for plugin interface 2."},
        {"wrong_major_small", "built for plugin interface 0."},
        {"wrong_magic", "no magic number"},
        {"short_entry", "struct_size of 24"},
        {"no_symbol", "does not export 'perennial_plugin'"},
        {"hidden_symbol", "does not export 'perennial_plugin'"},
        {"function", "declare it with PRN_PLUGIN_DECLARE"},
        {"zeros", "no magic number"},
        {"int", "declare it with PRN_PLUGIN_DECLARE"},
        {"no_license", "lacks a name (lower case letters, digits, '-', '_'), version, license"},
        {"bad_plugin_name", "lacks a name (lower case"},
        {"bad_name", "'../etc' is not a component's name"},
        {"auto_backend", "'auto' is not a component's name"},
        {"no_plan", "strategy table lacks 'plan'"},
        {"no_summary", "strategy table lacks 'summary'"},
        {"cut", "strategy table lacks 'plan'"},
        {"tiny", "struct_size of 3"},
        {"no_bound", "backend table lacks 'error_bound'"},
        {"null_interface", "an interface without id or table"},
        {"null_table", "an interface without id or table"},
        {"twice", "'twice' is already provided by"},
        {"no_options", "4 options but no table"},
        {"bad_preset", "'share' is '1.5', but must be between 0 and 1"},
        {"same_options", "option 'share' is twice"},
        {"short_options", "struct_size of 8"},
        {"no_choices", "option 0 of its table is incomplete"},
        {"undefined", "perennial_fixture_nowhere"},
    };
    (void)state;
    enum { BAD = sizeof bad / sizeof bad[0] };
    path folder = folder_make();
    for (size_t i = 0; i < BAD; i++) {
        char as[64];
        (void)snprintf(as, sizeof as, "%s.so", bad[i].name);
        (void)fixture_copy(folder, bad[i].name, as);
    }
    (void)fixture_copy(folder, "good", "a-first.so");
    (void)fixture_copy(folder, "large", "zz-last.so");
    (void)unsetenv("PERENNIAL_FIXTURE_RAN");
    const int64_t live = prn__alloc_live();
    prn__registry *registry = open_registry(folder.text);
    assert_null(getenv("PERENNIAL_FIXTURE_RAN")); /* no code of what the file alone condemns */
    for (size_t i = 0; i < BAD; i++) {
        char as[64];
        (void)snprintf(as, sizeof as, "/%s.so", bad[i].name);
        assert_refused(registry, as, bad[i].reason);
    }
    assert_loaded(registry, "/a-first.so");
    assert_loaded(registry, "/zz-last.so");
    assert_true(has_strategy(registry, "good") && has_strategy(registry, "large") && has_strategy(registry, "sequential"));
    /* a plugin is taken whole or not at all */
    assert_false(has_strategy(registry, "beside-no-bound"));
    assert_false(has_strategy(registry, "beside-auto"));
    assert_false(has_strategy(registry, "twice"));
    assert_false(has_strategy(registry, "null-interface"));
    prn__registry_destroy(registry);
    assert_int_equal(prn__alloc_live(), live);
}

static void truncated_at_many_lengths(void **state)
{
    (void)state;
    size_t bytes;
    char *data = fixture_read("good", &bytes);
    path scratch = folder_make();
    uint32_t head[3];
    prn_error error = PRN_ERROR_INIT;
    int64_t refused = 0;
    for (size_t length = 0; length < bytes; length += length < 600 || bytes - length < 300 ? 1 : 37) {
        path file = file_write(scratch, "cut.so", data, length);
        memset(error.message, 0, sizeof error.message);
        const prn_status status = prn__library_check_file(file.text, PRN_PLUGIN_SYMBOL, head, sizeof head, &error);
        if (status == PRN_OK) {
            fail_msg("the first %zu of %zu bytes pass for a whole plugin", length, bytes);
        }
        assert_int_equal(status, PRN_CORRUPT);
        assert_non_null(strstr(error.message, "cut.so"));
        refused++;
    }
    assert_true(refused > 1000);
    path whole = file_write(scratch, "cut.so", data, bytes);
    assert_int_equal(prn__library_check_file(whole.text, PRN_PLUGIN_SYMBOL, head, sizeof head, &error), PRN_OK);
    assert_int_equal(head[1], PRN_PLUGIN_MAGIC);

    /* and through the registry: the others still load */
    path folder = folder_make();
    static const int parts[] = {0, 1, 10, 25, 50, 75, 90, 99};
    for (size_t i = 0; i < 8; i++) {
        char as[32];
        (void)snprintf(as, sizeof as, "cut-%d.so", parts[i]);
        (void)file_write(folder, as, data, bytes * (size_t)parts[i] / 100);
    }
    (void)file_write(folder, "cut-one.so", data, bytes - 1);
    (void)file_write(folder, "whole.so", data, bytes);
    prn__registry *registry = open_registry(folder.text);
    assert_refused(registry, "/cut-0.so", "the file is empty");
    for (size_t i = 2; i < 8; i++) {
        char as[32];
        (void)snprintf(as, sizeof as, "/cut-%d.so", parts[i]);
        assert_refused(registry, as, "truncated or damaged");
    }
    assert_refused(registry, "/cut-one.so", "truncated or damaged");
    assert_loaded(registry, "/whole.so");
    prn__registry_destroy(registry);
    prn__free(data);
}

/* Numbers in the headers may be anything; judging them reads only what the file has (the sanitizers watch). */
static void damaged_headers_are_survived(void **state)
{
    (void)state;
    size_t bytes;
    char *data = fixture_read("good", &bytes), *copy = prn__alloc(bytes);
    path scratch = folder_make();
    assert_non_null(copy);
    ElfW(Ehdr) header;
    memcpy(&header, data, sizeof header);
    const size_t tables = header.e_shnum * sizeof(ElfW(Shdr));
    int64_t refused = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        memcpy(copy, data, bytes);
        for (uint64_t flips = 1 + i % 4, f = 0; f < flips; f++) {
            /* the ELF header, the program headers, the section headers, the dynamic symbols' part of the file */
            const uint64_t where = prn__rng_below(7, PRN__RNG_SUBSET, i, f * 4, 3), at = prn__rng_u64(7, PRN__RNG_SUBSET, i, f * 4 + 1);
            const size_t offset = where == 0   ? at % (sizeof header + header.e_phnum * sizeof(ElfW(Phdr)))
                                  : where == 1 ? header.e_shoff + at % tables
                                               : at % 4096;
            static const unsigned char extremes[] = {0, 1, 0x7f, 0x80, 0xff};
            copy[offset] = (char)(at >> 32 & 1 ? extremes[(at >> 33) % 5] : (unsigned char)(at >> 40));
        }
        uint32_t head[3];
        prn_error error = PRN_ERROR_INIT;
        path file = file_write(scratch, "damaged.so", copy, bytes);
        const prn_status status = prn__library_check_file(file.text, PRN_PLUGIN_SYMBOL, head, sizeof head, &error);
        if (status != PRN_OK) {
            assert_true(error.message[0] != '\0');
            refused++;
        }
    }
    print_message("%lld of 3000 damaged files refused\n", (long long)refused);
    assert_true(refused > 200 && refused < 3000);
    prn__free(copy);
    prn__free(data);
}

/* What the headers promise and the file does not have: each by itself, the rest of the file being whole. */
static void promises_beyond_the_file(void **state)
{
    (void)state;
    size_t bytes;
    char *data = fixture_read("good", &bytes);
    path folder = folder_make();
    ElfW(Ehdr) *header = (void *)data;
    const ElfW(Ehdr) own = *header;
    ElfW(Phdr) *segments = (void *)(data + own.e_phoff), *last = NULL;
    for (unsigned i = 0; i < own.e_phnum; i++) {
        last = segments[i].p_type == PT_LOAD ? &segments[i] : last;
    }
    assert_non_null(last);
    const ElfW(Phdr) kept = *last;
    last->p_filesz += bytes;
    last->p_memsz += bytes;
    (void)file_write(folder, "segment.so", data, bytes);
    *last = kept;
    last->p_offset = ~(ElfW(Off))0 - 4095; /* the sum with its size is small again */
    (void)file_write(folder, "overflow.so", data, bytes);
    *last = kept;
    header->e_phoff = bytes - 8;
    (void)file_write(folder, "program-headers.so", data, bytes);
    *header = own;
    header->e_phentsize = 1;
    (void)file_write(folder, "entry-size.so", data, bytes);
    *header = own;
    header->e_shnum = 0xff00;
    (void)file_write(folder, "sections.so", data, bytes);
    *header = own;
    header->e_shnum = 0;
    (void)file_write(folder, "no-sections.so", data, bytes);
    *header = own;
    prn__registry *registry = NULL;
    (void)file_write(folder, "whole.so", data, bytes);
    prn__free(data);
    registry = open_registry(folder.text);
    assert_refused(registry, "/segment.so", "a segment lies outside of it");
    assert_refused(registry, "/overflow.so", "a segment lies outside of it");
    assert_refused(registry, "/program-headers.so", "its program headers lie outside of it");
    assert_refused(registry, "/entry-size.so", "its program headers lie outside of it");
    assert_refused(registry, "/sections.so", "its section table lies outside of it");
    assert_refused(registry, "/no-sections.so", "does not export 'perennial_plugin'");
    assert_loaded(registry, "/whole.so");
    prn__registry_destroy(registry);
}

static void not_for_this_machine(void **state)
{
    (void)state;
    size_t bytes;
    char *data = fixture_read("good", &bytes);
    path folder = folder_make();
    ElfW(Ehdr) *header = (void *)data; /* heap blocks are aligned */
    const ElfW(Ehdr) own = *header;
    header->e_machine = own.e_machine == EM_RISCV ? EM_PPC64 : EM_RISCV;
    (void)file_write(folder, "machine.so", data, bytes);
    *header = own;
    header->e_ident[EI_CLASS] = own.e_ident[EI_CLASS] == ELFCLASS64 ? ELFCLASS32 : ELFCLASS64;
    (void)file_write(folder, "width.so", data, bytes);
    *header = own;
    header->e_type = ET_REL;
    (void)file_write(folder, "object.so", data, bytes);
    prn__free(data);
    (void)file_write(folder, "text.so", "INPUT(libm.so.6)\n", 17);
    (void)file_write(folder, "short.so", "\177ELF", 4);
    (void)file_write(folder, "empty.so", "", 0);
    (void)file_write(folder, "ignored.so.bak", "", 0);
    (void)file_write(folder, "ignored.txt", "", 0);
    (void)file_write(folder, ".so", "", 0);
    (void)fixture_copy(folder, "good", "good.so");
    prn__registry *registry = open_registry(folder.text);
    assert_refused(registry, "/machine.so", "another kind of machine");
    assert_refused(registry, "/width.so", "another kind of machine");
    assert_refused(registry, "/object.so", "another kind of machine");
    assert_refused(registry, "/text.so", "not a shared object");
    assert_refused(registry, "/short.so", "not a shared object");
    assert_refused(registry, "/empty.so", "the file is empty");
    assert_null(entry_of(registry, "/ignored.so.bak"));
    assert_null(entry_of(registry, "/ignored.txt"));
    assert_null(entry_of(registry, "/.so"));
    assert_loaded(registry, "/good.so");
    prn__registry_destroy(registry);
}

static void writable_by_others(void **state)
{
    (void)state;
    path open_folder = folder_make(), group_folder = folder_make(), folder = folder_make();
    (void)fixture_copy(open_folder, "good", "inside.so");
    (void)fixture_copy(group_folder, "good", "within.so");
    (void)fixture_copy(folder, "good", "good.so");
    path writable = fixture_copy(folder, "large", "large.so"), by_group = fixture_copy(folder, "small", "small.so");
    assert_int_equal(chmod(open_folder.text, 0777), 0);
    assert_int_equal(chmod(group_folder.text, 0775), 0);
    assert_int_equal(chmod(writable.text, 0666), 0);
    assert_int_equal(chmod(by_group.text, 0664), 0);
    char paths[2048];
    (void)snprintf(paths, sizeof paths, "%s:%s:%s", open_folder.text, group_folder.text, folder.text);
    prn__registry *registry = open_registry(paths);
    assert_refused(registry, open_folder.text, "the plugin folder is writable by others (mode 777); run: chmod go-w");
    assert_refused(registry, group_folder.text, "the plugin folder is writable by others (mode 775)");
    assert_null(entry_of(registry, "/inside.so"));
    assert_null(entry_of(registry, "/within.so"));
    assert_refused(registry, "/large.so", "the plugin is writable by others (mode 666)");
    assert_refused(registry, "/small.so", "the plugin is writable by others (mode 664)");
    assert_loaded(registry, "/good.so");
    prn__registry_destroy(registry);
    if (geteuid() != 0) {
        print_message("SKIP: files of another user can be made by root only\n");
        return;
    }
    path foreign_folder = folder_make(), mixed = folder_make();
    (void)fixture_copy(foreign_folder, "good", "inside.so");
    path foreign = fixture_copy(mixed, "good", "foreign.so");
    assert_int_equal(chown(foreign_folder.text, 12345, 12345), 0);
    assert_int_equal(chown(foreign.text, 12345, 12345), 0);
    (void)snprintf(paths, sizeof paths, "%s:%s", foreign_folder.text, mixed.text);
    registry = open_registry(paths);
    assert_refused(registry, foreign_folder.text, "belongs to user 12345");
    assert_refused(registry, "/foreign.so", "belongs to user 12345");
    prn__registry_destroy(registry);
}

static void links_and_other_things(void **state)
{
    (void)state;
    path folder = folder_make(), elsewhere = folder_make(), open_folder = folder_make();
    path target = fixture_copy(elsewhere, "good", "real.so"), unsafe = fixture_copy(open_folder, "large", "large.so");
    assert_int_equal(chmod(open_folder.text, 0777), 0);
    assert_int_equal(symlink(target.text, in_folder(folder, "link.so").text), 0);
    assert_int_equal(symlink(unsafe.text, in_folder(folder, "unsafe.so").text), 0);
    assert_int_equal(symlink("nowhere.so", in_folder(folder, "dangling.so").text), 0);
    assert_int_equal(symlink("loop.so", in_folder(folder, "loop.so").text), 0);
    assert_int_equal(symlink(elsewhere.text, in_folder(folder, "to-folder.so").text), 0);
    assert_int_equal(symlink("/dev/zero", in_folder(folder, "device.so").text), 0);
    assert_int_equal(mkdir(in_folder(folder, "folder.so").text, 0755), 0);
    assert_int_equal(mkfifo(in_folder(folder, "pipe.so").text, 0644), 0);
    prn__registry *registry = open_registry(folder.text);
    assert_loaded(registry, "/link.so");
    assert_refused(registry, "/unsafe.so", "the plugin folder is writable by others (mode 777)");
    assert_refused(registry, "/dangling.so", "No such file");
    assert_refused(registry, "/loop.so", "symbolic links");
    assert_refused(registry, "/to-folder.so", "not a regular file");
    assert_refused(registry, "/device.so", "not a regular file");
    assert_refused(registry, "/folder.so", "not a regular file");
    assert_refused(registry, "/pipe.so", "not a regular file"); /* and nobody waited for its other end */
    prn__registry_destroy(registry);

    /* a link to a folder is as good as the folder */
    path alias = in_folder(folder, "alias"), unsafe_alias = in_folder(folder, "unsafe-alias");
    assert_int_equal(symlink(elsewhere.text, alias.text), 0);
    assert_int_equal(symlink(open_folder.text, unsafe_alias.text), 0);
    char paths[2048];
    (void)snprintf(paths, sizeof paths, "%s:%s", alias.text, unsafe_alias.text);
    registry = open_registry(paths);
    assert_loaded(registry, "/real.so");
    assert_refused(registry, "/unsafe-alias", "writable by others");
    prn__registry_destroy(registry);
}

static void the_first_of_a_name_wins(void **state)
{
    (void)state;
    path first = folder_make(), second = folder_make();
    (void)fixture_copy(first, "good", "b.so");
    (void)fixture_copy(first, "good", "a.so");
    (void)fixture_copy(second, "good", "c.so");
    char paths[2048];
    (void)snprintf(paths, sizeof paths, "%s:%s", first.text, second.text);
    prn__registry *registry = open_registry(paths);
    assert_loaded(registry, "/a.so");
    assert_refused(registry, "/b.so", "'good' is already provided by");
    assert_refused(registry, "/b.so", "/a.so, which was found first");
    assert_refused(registry, "/c.so", "/a.so, which was found first");
    prn__registry_destroy(registry);
}

static void folders_are_searched_in_order_and_once(void **state)
{
    (void)state;
    path given = folder_make(), named = folder_make();
    (void)fixture_copy(given, "good", "given.so");
    (void)file_write(given, "notes.txt", "", 0);
    (void)fixture_copy(named, "good", "named.so");
    (void)fixture_copy(named, "large", "large.so");
    assert_int_equal(setenv("PERENNIAL_PLUGIN_PATH", named.text, 1), 0);
    char paths[4096];
    (void)snprintf(paths, sizeof paths, "%s::%s/.:%s:%s/absent:%s/notes.txt:", given.text, given.text, PRN_BUILD_DIR "/plugins", given.text, given.text);
    prn__registry *registry = open_registry(paths);
    (void)unsetenv("PERENNIAL_PLUGIN_PATH");
    size_t copies = 0, sequential = 0;
    for (size_t i = 0; i < prn__registry_count(registry); i++) {
        copies += strstr(prn__registry_entry(registry, i)->path, "/given.so") != NULL && prn__registry_entry(registry, i)->plugin != NULL;
        sequential += strstr(prn__registry_entry(registry, i)->path, "/strategy_sequential.so") != NULL;
    }
    assert_int_equal(copies, 1);
    assert_int_equal(sequential, 1); /* named here, and the program's own: searched once, not in conflict with itself */
    assert_loaded(registry, "/strategy_sequential.so");
    assert_refused(registry, "/named.so", "/given.so, which was found first");
    assert_loaded(registry, "/large.so");
    assert_refused(registry, "/absent", "No such file");
    assert_refused(registry, "/notes.txt", "not a folder");
    prn__registry_destroy(registry);
}

static void unknown_names_suggest(void **state)
{
    (void)state;
    prn__registry *registry = open_registry(NULL);
    prn_error error = PRN_ERROR_INIT;
    const prn_strategy *s = NULL;
    const prn_backend *b = NULL;
    assert_int_equal(prn__registry_strategy(registry, "sequental", &s, NULL, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "no strategy 'sequental' (did you mean 'sequential'?)"));
    assert_non_null(strstr(error.message, "cumulative"));
    assert_int_equal(prn__registry_backend(registry, "referense", &b, NULL, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "(did you mean 'reference'?)"));
    assert_int_equal(prn__registry_backend(registry, "sequential", &b, NULL, &error), PRN_NOT_FOUND); /* a name belongs to its kind */
    assert_null(strstr(error.message, "did you mean"));
    assert_int_equal(prn__registry_backend(registry, "", &b, NULL, NULL), PRN_NOT_FOUND);
    assert_null(s);
    assert_null(b);
    prn__registry_destroy(registry);
    prn__registry_destroy(NULL);
}

static const char *opened_by(prn__registry *registry, const char *name)
{
    prn_error error = PRN_ERROR_INIT;
    prn__device device;
    if (prn__device_open(registry, name, NULL, 0, &device, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    const char *opened = device.backend->name;
    assert_non_null(device.instance);
    assert_non_null(device.entry);
    prn__device_close(&device);
    assert_null(device.instance);
    assert_null(device.backend);
    return opened;
}

static void device_auto(void **state)
{
    (void)state;
    path folder = folder_make();
    (void)fixture_copy(folder, "cuda", "cuda.so");
    prn__registry *without = open_registry(NULL);
    const prn_backend *real = NULL;
    if (prn__registry_backend(without, "cuda", &real, NULL, NULL) != PRN_OK) {
        assert_string_equal(opened_by(without, "auto"), "cpu");
    }
    prn__registry_destroy(without);

    prn__registry *registry = open_registry(folder.text); /* its cuda is found first */
    assert_loaded(registry, "/cuda.so");
    (void)unsetenv("PERENNIAL_FIXTURE_DEVICES");
    assert_string_equal(opened_by(registry, "auto"), "cpu"); /* no device is not an error */
    assert_int_equal(setenv("PERENNIAL_FIXTURE_DEVICES", "99", 1), 0);
    assert_string_equal(opened_by(registry, "auto"), "cpu"); /* nor is a broken driver, when nobody asked for it */
    assert_int_equal(setenv("PERENNIAL_FIXTURE_DEVICES", "2", 1), 0);
    (void)unsetenv("PERENNIAL_FIXTURE_CLOSED");
    assert_string_equal(opened_by(registry, "auto"), "cuda");
    assert_non_null(getenv("PERENNIAL_FIXTURE_CLOSED"));
    assert_string_equal(opened_by(registry, "reference"), "reference");

    const int64_t live = prn__alloc_live();
    prn_error error = PRN_ERROR_INIT;
    prn__device device;
    assert_int_equal(setenv("PERENNIAL_FIXTURE_FAILS", "1", 1), 0);
    assert_int_equal(prn__device_open(registry, "cuda", NULL, 0, &device, &error), PRN_DEVICE);
    (void)unsetenv("PERENNIAL_FIXTURE_FAILS");
    assert_string_equal(error.message, "the fixture has no memory left");
    assert_null(device.backend);
    assert_null(device.instance);
    assert_null(device.options);
    const prn__option_pair unknown = {"streams", "2"};
    assert_int_equal(prn__device_open(registry, "cuda", &unknown, 1, &device, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "cuda has no option 'streams'; it has none at all"));
    const prn__option_pair misspelt = {"iza", "auto"};
    assert_int_equal(prn__device_open(registry, "cpu", &misspelt, 1, &device, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "(did you mean 'isa'?)"));
    assert_int_equal(prn__device_open(registry, "tpu", NULL, 0, &device, &error), PRN_NOT_FOUND);
    prn__device_close(&device); /* of one that did not open: nothing happens */
    assert_int_equal(prn__alloc_live(), live);
    prn__registry_destroy(registry);
}

static void host_services(void **state)
{
    (void)state;
    prn__registry *registry = open_registry(NULL);
    const prn_host *host = prn__registry_host(registry);
    assert_int_equal(host->struct_size, sizeof *host);
    assert_int_equal(host->abi_major, PRN_ABI_MAJOR);
    assert_int_equal(host->abi_minor, PRN_ABI_MINOR);
    const int64_t live = prn__alloc_live();
    unsigned char *memory = host->allocate(host->self, 100, "a test");
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % 64, 0);
    host->release(host->self, memory);
    host->release(host->self, NULL);
    assert_int_equal(prn__alloc_live(), live);
    assert_int_equal(host->thread_count(host->self), 1);
    assert_null(host->interface_get(host->self, "perennial.nothing/1"));
    host->log(host->self, PRN_LOG_INFO, "a record without a sink is dropped");
    prn__registry_destroy(registry);
}

static size_t loaded_count(const prn__registry *registry)
{
    size_t count = 0;
    for (size_t i = 0; i < prn__registry_count(registry); i++) {
        count += prn__registry_entry(registry, i)->plugin != NULL;
    }
    return count;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    path folder = folder_make();
    (void)fixture_copy(folder, "small", "small.so"); /* needs a copy of its table */
    (void)fixture_copy(folder, "wrong_major", "wrong_major.so");
    (void)fixture_copy(folder, "long_options", "long_options.so");
    prn__registry *whole = open_registry(folder.text);
    const size_t all = loaded_count(whole);
    prn__registry_destroy(whole);
    const int64_t live = prn__alloc_live();
    int undisturbed = 0, failed = 0;
    for (int64_t n = 1; undisturbed < 3; n++) {
        prn_error error = PRN_ERROR_INIT;
        prn__registry *registry = NULL;
        prn__alloc_fail_at(n);
        const prn_status status = prn__registry_create(pool, folder.text, &registry, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            undisturbed += loaded_count(registry) == all;
            assert_true(has_strategy(registry, "long-options") || loaded_count(registry) < all);
        } else {
            assert_int_equal(status, PRN_NO_MEMORY);
            assert_null(registry);
            failed++;
        }
        prn__registry_destroy(registry);
        assert_int_equal(prn__alloc_live(), live);
        assert_true(n < 2000);
    }
    assert_true(failed > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_load),
        cmocka_unit_test(a_smaller_table_is_filled_with_zeros),
        cmocka_unit_test(longer_options_are_read_by_their_own_stride),
        cmocka_unit_test(bad_ones_are_refused_and_the_others_load),
        cmocka_unit_test(truncated_at_many_lengths),
        cmocka_unit_test(damaged_headers_are_survived),
        cmocka_unit_test(promises_beyond_the_file),
        cmocka_unit_test(not_for_this_machine),
        cmocka_unit_test(writable_by_others),
        cmocka_unit_test(links_and_other_things),
        cmocka_unit_test(the_first_of_a_name_wins),
        cmocka_unit_test(folders_are_searched_in_order_and_once),
        cmocka_unit_test(unknown_names_suggest),
        cmocka_unit_test(device_auto),
        cmocka_unit_test(host_services),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
