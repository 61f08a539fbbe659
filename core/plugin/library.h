/* core/plugin/library.h: judging a plugin's file before any of its code may run. Shared by the files of this room only. */
#ifndef PRN_PLUGIN_LIBRARY_H
#define PRN_PLUGIN_LIBRARY_H

#include <perennial/status.h>

/* The folder may be searched: it exists, is a folder, and only its owner (root or this user) may write in it. */
prn_status prn__library_check_folder(const char *path, prn_error *error);

/* The file may be loaded: permissions as above, and a whole ELF shared object for this machine, which has the symbol
 * `symbol` in its dynamic symbol table. The whole file is checked by its own headers, so that a truncated one is an error here
 * and not a bus error in the loader. */
prn_status prn__library_check_file(const char *path, const char *symbol, prn_error *error);

#endif
