target_link_libraries(${PRN_PLUGIN_TARGET} PRIVATE m)
