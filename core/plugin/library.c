/* core/plugin/library.c: see library.h. ELF as in the System V ABI's gABI, chapters 4 and 5. */
#include "plugin/library.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* Whoever may write a plugin's folder or file may run code as this user. */
static prn_status check_owner(const char *path, const struct stat *info, const char *what, prn_error *error)
{
    if (info->st_uid != 0 && info->st_uid != geteuid()) {
        return prn_error_set(error, PRN_INVALID, "%s: the %s belongs to user %u, not to you or root; plugins load only from what others cannot write",
                             path, what, (unsigned)info->st_uid);
    }
    if ((info->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return prn_error_set(error, PRN_INVALID, "%s: the %s is writable by others (mode %03o); run: chmod go-w '%s'", path, what,
                             (unsigned)info->st_mode & 0777u, path);
    }
    return PRN_OK;
}

prn_status prn__library_check_folder(const char *path, prn_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return prn_error_set(error, errno == ENOENT ? PRN_NOT_FOUND : PRN_IO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
        return prn_error_set(error, PRN_INVALID, "%s: not a folder", path);
    }
    return check_owner(path, &info, "plugin folder", error);
}

static prn_status damaged(const char *path, const char *what, prn_error *error)
{
    return prn_error_set(error, PRN_CORRUPT, "%s: %s; the file is truncated or damaged, build or copy it again", path, what);
}

static int inside(const prn__map *map, uint64_t offset, uint64_t bytes)
{
    return offset <= map->bytes && bytes <= map->bytes - offset;
}

typedef struct wanted_symbol {
    const char *name;
    void *head;
    size_t head_bytes;
} wanted_symbol;

/* Copies the first bytes of a symbol out of the loadable segment that holds its address. */
static prn_status copy_head(const char *path, const prn__map *map, const ElfW(Ehdr) *header, const ElfW(Sym) *entry, const wanted_symbol *wanted,
                            prn_error *error)
{
    if (ELF64_ST_TYPE(entry->st_info) != STT_OBJECT || entry->st_size < wanted->head_bytes) {
        return prn_error_set(error, PRN_INVALID, "%s: its '%s' is not a plugin's entry; declare it with PRN_PLUGIN_DECLARE", path, wanted->name);
    }
    for (unsigned i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        memcpy(&segment, map->data + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && entry->st_value >= segment.p_vaddr && entry->st_value - segment.p_vaddr < segment.p_filesz) {
            const uint64_t from = entry->st_value - segment.p_vaddr;
            if (segment.p_filesz - from < wanted->head_bytes || !inside(map, segment.p_offset + from, wanted->head_bytes)) {
                return damaged(path, "its entry lies outside of it", error);
            }
            memcpy(wanted->head, map->data + segment.p_offset + from, wanted->head_bytes);
            return PRN_OK;
        }
    }
    memset(wanted->head, 0, wanted->head_bytes); /* in memory that starts as zeros */
    return PRN_OK;
}

/* Looks for the symbol among the defined ones of the dynamic symbol table. */
static prn_status find_symbol(const char *path, const prn__map *map, const ElfW(Ehdr) *header, const wanted_symbol *symbol, prn_error *error)
{
    size_t wanted = strlen(symbol->name);
    if (header->e_shentsize != sizeof(ElfW(Shdr)) || !inside(map, header->e_shoff, (uint64_t)header->e_shnum * sizeof(ElfW(Shdr)))) {
        return damaged(path, "its section table lies outside of it", error);
    }
    for (unsigned i = 0; i < header->e_shnum; i++) {
        ElfW(Shdr) section, strings;
        memcpy(&section, map->data + header->e_shoff + (uint64_t)i * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS && !inside(map, section.sh_offset, section.sh_size)) {
            return damaged(path, "a section lies outside of it", error);
        }
        if (section.sh_type != SHT_DYNSYM) {
            continue;
        }
        if (section.sh_link >= header->e_shnum) {
            return damaged(path, "its symbol table has no names", error);
        }
        memcpy(&strings, map->data + header->e_shoff + (uint64_t)section.sh_link * sizeof strings, sizeof strings);
        if (!inside(map, strings.sh_offset, strings.sh_size)) {
            return damaged(path, "its symbol names lie outside of it", error);
        }
        for (uint64_t k = 0; k < section.sh_size / sizeof(ElfW(Sym)); k++) {
            ElfW(Sym) entry;
            memcpy(&entry, map->data + section.sh_offset + k * sizeof entry, sizeof entry);
            if (entry.st_shndx == SHN_UNDEF || entry.st_name >= strings.sh_size || strings.sh_size - entry.st_name <= wanted) {
                continue;
            }
            const char *name = (const char *)map->data + strings.sh_offset + entry.st_name;
            if (memcmp(name, symbol->name, wanted + 1) == 0) {
                return copy_head(path, map, header, &entry, symbol, error);
            }
        }
    }
    return prn_error_set(error, PRN_NOT_FOUND, "%s: does not export '%s'; a plugin declares it with PRN_PLUGIN_DECLARE", path, symbol->name);
}

static prn_status check_elf(const char *path, const prn__map *map, const wanted_symbol *symbol, prn_error *error)
{
    ElfW(Ehdr) header;
#if defined(__x86_64__)
    const unsigned machine = EM_X86_64;
#elif defined(__aarch64__)
    const unsigned machine = EM_AARCH64;
#else
    const unsigned machine = EM_NONE;
#endif
    if (map->bytes == 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: the file is empty", path);
    }
    if (map->bytes < sizeof header || memcmp(map->data, ELFMAG, SELFMAG) != 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: not a shared object (no ELF file); build it with perennial_add_plugin or cc -shared", path);
    }
    memcpy(&header, map->data, sizeof header);
    if (header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) || header.e_type != ET_DYN ||
        (machine != EM_NONE && header.e_machine != machine)) {
        return prn_error_set(error, PRN_UNSUPPORTED, "%s: a shared object for another kind of machine; build it for this one", path);
    }
    if (header.e_phentsize != sizeof(ElfW(Phdr)) || !inside(map, header.e_phoff, (uint64_t)header.e_phnum * sizeof(ElfW(Phdr)))) {
        return damaged(path, "its program headers lie outside of it", error);
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        memcpy(&segment, map->data + header.e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && !inside(map, segment.p_offset, segment.p_filesz)) {
            return damaged(path, "a segment lies outside of it", error);
        }
    }
    return find_symbol(path, map, &header, symbol, error);
}

/* A link's target is as safe as the folder that it really lies in. */
static prn_status check_real_folder(const char *path, prn_error *error)
{
    char *real = realpath(path, NULL);
    if (real == NULL) {
        return prn_error_set(error, PRN_IO, "%s: %s", path, strerror(errno));
    }
    char *folder = prn__path_folder(real);
    prn_status status = folder != NULL ? prn__library_check_folder(folder, error) : prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
    if (status != PRN_OK && folder != NULL) {
        status = prn_error_context(error, status, "%s", path);
    }
    prn__free(folder);
    free(real);
    return status;
}

prn_status prn__library_check_file(const char *path, const char *symbol, void *head, size_t head_bytes, prn_error *error)
{
    const wanted_symbol wanted = {symbol, head, head_bytes};
    struct stat info;
    prn__map map;
    if (stat(path, &info) != 0) {
        return prn_error_set(error, PRN_IO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) { /* before it is opened: a pipe would wait for its other end */
        return prn_error_set(error, PRN_INVALID, "%s: not a regular file", path);
    }
    prn_status status = check_owner(path, &info, "plugin", error);
    if (status == PRN_OK) {
        status = check_real_folder(path, error);
    }
    if (status == PRN_OK) {
        status = prn__map_open(path, &map, error);
    }
    if (status == PRN_OK) {
        status = check_elf(path, &map, &wanted, error);
        prn__map_close(&map);
    }
    return status;
}
