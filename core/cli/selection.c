/* core/cli/selection.c: see selection.h. */
#include "cli/selection.h"

#include <string.h>

#include "base/memory.h"

static prn_status check_names(const prn__arguments *arguments, const char *option, const char *what, const char *const *known, size_t count,
                              const prn__manifest *manifest, prn_error *error)
{
    for (size_t i = 0; prn__arguments_each(arguments, option, i) != NULL; i++) {
        const char *name = prn__arguments_each(arguments, option, i);
        char suggestion[128];
        prn__text list;
        size_t k = 0;
        while (k < count && strcmp(known[k], name) != 0) {
            k++;
        }
        if (k < count) {
            continue;
        }
        prn__text_init(&list);
        for (k = 0; k < count && list.length < 400; k++) {
            prn__text_printf(&list, "%s%s", k > 0 ? ", " : "", known[k]);
        }
        (void)prn_error_set(error, PRN_NOT_FOUND, "%s has no %s '%s'%s; it has: %s%s", manifest->path, what, name,
                            prn__suggest_text(name, known, count, suggestion, sizeof suggestion), count > 0 && list.data != NULL ? list.data : "none",
                            k < count ? ", ..." : "");
        prn__text_fini(&list);
        return PRN_NOT_FOUND;
    }
    return PRN_OK;
}

static int is_known(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

prn_status prn__selection_check(const prn__arguments *arguments, const prn__manifest *manifest, int with_train, prn_error *error)
{
    size_t sets = 0, capacity = manifest->step_count + 1;
    for (size_t t = 0; t < manifest->step_count; t++) {
        capacity += manifest->steps[t].evaluation_count;
    }
    const char **names = prn__alloc_array(capacity, sizeof *names);
    if (names == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t t = 0; t < manifest->step_count; t++) {
        names[t] = manifest->steps[t].name;
    }
    prn_status status = check_names(arguments, "time-step", "time step", names, manifest->step_count, manifest, error);
    if (with_train) {
        names[sets++] = "train";
    }
    for (size_t t = 0; t < manifest->step_count; t++) {
        for (size_t e = 0; e < manifest->steps[t].evaluation_count; e++) {
            const char *name = manifest->steps[t].evaluations[e].name;
            if (!is_known(names, sets, name)) {
                names[sets++] = name;
            }
        }
    }
    if (status == PRN_OK) {
        status = check_names(arguments, "set-name", with_train ? "set" : "evaluation set", names, sets, manifest, error);
    }
    prn__free((void *)names);
    return status;
}

static int is_chosen(const prn__arguments *arguments, const char *option, const char *name)
{
    const char *given = prn__arguments_each(arguments, option, 0);
    for (size_t i = 1; given != NULL; i++) {
        if (strcmp(given, name) == 0) {
            return 1;
        }
        given = prn__arguments_each(arguments, option, i);
    }
    return !prn__arguments_has(arguments, option);
}

int prn__selection_has_step(const prn__arguments *arguments, const prn__manifest_step *step)
{
    return is_chosen(arguments, "time-step", step->name);
}

int prn__selection_has_set(const prn__arguments *arguments, const char *name)
{
    return is_chosen(arguments, "set-name", name);
}
