/* perennial/plugin.h: the one symbol that a plugin exports.
 *
 * A plugin is a shared object with the data symbol `perennial_plugin`. The host reads and judges it before any of the
 * plugin's code runs: build with hidden visibility and without constructors. What a plugin offers is a list of tables
 * by string id: "perennial.backend/1" (prn_backend), "perennial.strategy/1" (prn_strategy).
 *
 * Versions: the major numbers must be equal; a plugin built against a newer minor is served as far as the host knows;
 * smaller structures are served, larger tails ignored.
 */
#ifndef PERENNIAL_PLUGIN_H
#define PERENNIAL_PLUGIN_H

#include <perennial/host.h>
#include <perennial/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRN_ABI_MAJOR 1
#define PRN_ABI_MINOR 7
#define PRN_PLUGIN_SYMBOL "perennial_plugin"
#define PRN_PLUGIN_MAGIC 0x314e5250u /* "PRN1" */

#define PRN_BACKEND_INTERFACE "perennial.backend/1"
#define PRN_STRATEGY_INTERFACE "perennial.strategy/1"

typedef struct prn_interface {
    const char *id;
    const void *table; /* its first member is struct_size */
} prn_interface;

typedef struct prn_plugin {
    uint32_t struct_size; /* bytes */
    uint32_t magic;       /* PRN_PLUGIN_MAGIC */
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t interface_count;
    const char *name;     /* lower case letters, digits, '-' and '_' */
    const char *version;  /* of the plugin itself, such as "1.2.0" */
    const char *license;
    const char *summary;  /* one line */
    const prn_interface *interfaces;
} prn_plugin;

#if defined(_WIN32)
#define PRN_EXPORT __declspec(dllexport)
#else
#define PRN_EXPORT __attribute__((visibility("default")))
#endif

/* Declares the entry symbol: PRN_PLUGIN_DECLARE = { .struct_size = sizeof(prn_plugin), ... }; */
#ifdef __cplusplus
#define PRN_PLUGIN_DECLARE extern "C" PRN_EXPORT const prn_plugin perennial_plugin; const prn_plugin perennial_plugin
#else
#define PRN_PLUGIN_DECLARE extern PRN_EXPORT const prn_plugin perennial_plugin; const prn_plugin perennial_plugin
#endif

#ifdef __cplusplus
}
#endif
#endif
