# What `cmake --install` puts under a prefix, besides the targets that CMakeLists.txt installs (the command, the plugins):
#   include/perennial/             the SDK
#   <lib>/cmake/perennial/         find_package(perennial): target perennial::sdk, perennial_add_plugin(), perennial_PLUGIN_DIR
#   <lib>/pkgconfig/perennial.pc   the same for other build systems; variable plugindir
#   share/perennial/               the recipe library (lua/), recipes/ and templates/, where the command looks for them
# Nothing in it names the prefix, so that a whole installation may be moved, or staged with --prefix.
# The build folder is a package, too: -Dperennial_DIR=<build folder> builds plugins against it.
include(CMakePackageConfigHelpers)

set(PRN_INSTALL_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/perennial/plugins)
set(PRN_INSTALL_EXECUTABLE ${CMAKE_INSTALL_BINDIR}/perennial)
set(PRN_INSTALL_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/perennial)
set(PRN_INSTALL_PKGCONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The command finds its plugins from where it lies itself.
file(RELATIVE_PATH PRN_PLUGINS_FROM_EXECUTABLE "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}/perennial/plugins")
target_compile_definitions(prn_plugin PRIVATE PRN_PLUGINS_FROM_EXECUTABLE="${PRN_PLUGINS_FROM_EXECUTABLE}")

# The command refuses plugin folders that others may write: whatever the umask, none is.
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/perennial DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${CMAKE_SOURCE_DIR}/lua/perennial DESTINATION share/perennial/lua FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY ${CMAKE_SOURCE_DIR}/recipes DESTINATION share/perennial FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY ${CMAKE_SOURCE_DIR}/templates DESTINATION share/perennial)
# CLIP's vocabulary is fetched when the machine is set up, not part of the tree.
install(FILES ${CMAKE_SOURCE_DIR}/build/assets/bpe_simple_vocab_16e6.txt.gz DESTINATION share/perennial OPTIONAL)

install(TARGETS prn_sdk EXPORT perennialTargets)
install(EXPORT perennialTargets NAMESPACE perennial:: DESTINATION ${PRN_INSTALL_CMAKE_DIR})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/perennialConfig.cmake.in ${CMAKE_BINARY_DIR}/sdk/perennialConfig.cmake
  INSTALL_DESTINATION ${PRN_INSTALL_CMAKE_DIR} PATH_VARS PRN_INSTALL_PLUGIN_DIR PRN_INSTALL_EXECUTABLE)
# Before 1.0 a minor release may change the SDK.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/sdk/perennialConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/sdk/perennialConfig.cmake ${CMAKE_BINARY_DIR}/sdk/perennialConfigVersion.cmake
  ${CMAKE_SOURCE_DIR}/cmake/perennial_add_plugin.cmake DESTINATION ${PRN_INSTALL_CMAKE_DIR})

export(EXPORT perennialTargets NAMESPACE perennial:: FILE ${CMAKE_BINARY_DIR}/perennialTargets.cmake)
file(WRITE ${CMAKE_BINARY_DIR}/perennialConfig.cmake "# find_package(perennial) in the build folder; see cmake/perennialConfig.cmake.in
include(\"\${CMAKE_CURRENT_LIST_DIR}/perennialTargets.cmake\")
include(\"${CMAKE_SOURCE_DIR}/cmake/perennial_add_plugin.cmake\")
set(perennial_PLUGIN_DIR \"\${CMAKE_CURRENT_LIST_DIR}/plugins\")
set(perennial_EXECUTABLE \"\${CMAKE_CURRENT_LIST_DIR}/perennial\")
")
configure_file(${CMAKE_BINARY_DIR}/sdk/perennialConfigVersion.cmake ${CMAKE_BINARY_DIR}/perennialConfigVersion.cmake COPYONLY)

file(RELATIVE_PATH PRN_PREFIX_FROM_PKGCONFIG "/${PRN_INSTALL_PKGCONFIG_DIR}" "/")
string(REGEX REPLACE "/$" "" PRN_PREFIX_FROM_PKGCONFIG "${PRN_PREFIX_FROM_PKGCONFIG}")
configure_file(${CMAKE_SOURCE_DIR}/cmake/perennial.pc.in ${CMAKE_BINARY_DIR}/sdk/perennial.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/sdk/perennial.pc DESTINATION ${PRN_INSTALL_PKGCONFIG_DIR})
