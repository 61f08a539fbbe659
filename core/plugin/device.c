/* core/plugin/device.c: an opened backend; see registry.h. */
#include <string.h>

#include "plugin/registry.h"

/* cuda when it is there and reports a device, else cpu. */
static const char *choose(prn__registry *registry)
{
    const prn_backend *cuda;
    uint32_t count = 0;
    prn_device_info info = {.struct_size = sizeof info};
    if (prn__registry_backend(registry, "cuda", &cuda, NULL, NULL) == PRN_OK &&
        cuda->devices(prn__registry_host(registry), &info, 1, &count, NULL) == PRN_OK && count > 0) {
        return "cuda";
    }
    return "cpu";
}

prn_status prn__device_open(prn__registry *registry, const char *name, const prn__option_pair *given, size_t given_count, prn__device *device,
                            prn_error *error)
{
    memset(device, 0, sizeof *device);
    if (strcmp(name, "auto") == 0) {
        name = choose(registry);
    }
    prn_status status = prn__registry_backend(registry, name, &device->backend, &device->entry, error);
    if (status == PRN_OK) {
        status = prn__options_parse(name, device->backend->options, device->backend->option_count, given, given_count, &device->options, error);
    }
    if (status == PRN_OK) {
        status = device->backend->open(prn__registry_host(registry), prn__options_values(device->options), &device->instance, error);
    }
    if (status != PRN_OK) {
        prn__options_destroy(device->options);
        memset(device, 0, sizeof *device);
    }
    return status;
}

void prn__device_close(prn__device *device)
{
    if (device->instance != NULL) {
        device->backend->close(device->instance);
    }
    prn__options_destroy(device->options);
    memset(device, 0, sizeof *device);
}
