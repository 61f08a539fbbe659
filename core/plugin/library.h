/* core/plugin/library.h: judging a plugin's file before any of its code may run. Shared by the files of this room only. */
#ifndef PRN_PLUGIN_LIBRARY_H
#define PRN_PLUGIN_LIBRARY_H

#include <perennial/status.h>

/* The folder may be searched: it exists, is a folder, and only its owner (root or this user) may write in it. */
prn_status prn__library_check_folder(const char *path, prn_error *error);

/* The file may be loaded: permissions as above (also of the folder that a link leads to), and a whole ELF shared object for this
 * machine, which has the data symbol `symbol` in its dynamic symbol table. The whole file is checked by its own headers, so that a
 * truncated one is an error here and not a bus error in the loader. The symbol's first `head_bytes` bytes, as the file has them (before
 * relocation: numbers, no pointers), are copied to `head`, so that versions can be judged before any of the plugin's code runs. */
prn_status prn__library_check_file(const char *path, const char *symbol, void *head, size_t head_bytes, prn_error *error);

#endif
