# perennial_add_plugin(target source...): a loadable plugin that sees the SDK only. Used by the bundled plugins and,
# installed, by plugins built outside the tree. The only symbol it exports is the one that PRN_PLUGIN_DECLARE makes.
function(perennial_add_plugin target)
  add_library(${target} MODULE ${ARGN})
  target_link_libraries(${target} PRIVATE perennial::sdk)
  target_compile_features(${target} PRIVATE c_std_11)
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".so" C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  # The program loads nothing that others may write, and under some umasks what is built would be.
  add_custom_command(TARGET ${target} POST_BUILD COMMAND chmod go-w "$<TARGET_FILE:${target}>" "$<TARGET_FILE_DIR:${target}>" VERBATIM)
endfunction()
