// A plugin in C++ that offers neither strategy nor backend, but a table of its own, which a host that does not know it passes over.
#include <cstdint>

#include <perennial/perennial.h>

namespace {

struct power {
    std::uint32_t struct_size;
    std::uint32_t reserved;
    int (*answer)();
};

int answer()
{
    return 42;
}

const power table = {sizeof(power), 0, answer};
const prn_interface interfaces[] = {{"example.power/1", &table}};

} // namespace

PRN_PLUGIN_DECLARE = {
    sizeof(prn_plugin), PRN_PLUGIN_MAGIC, PRN_ABI_MAJOR, PRN_ABI_MINOR, 1, "power", "1.0.0", "MIT", "a table of its own", interfaces,
};
