# The plugins that test_registry loads or sees refused, in tests/fixture-plugins of the build folder: one build of
# fixtures/plugins.c for each line, with the definitions behind its name.
if(PRN_TEST_TARGET STREQUAL "test_plugin_registry")
  set(fixtures
    "good"
    "small;FIXTURE_SMALL_STRATEGY;FIXTURE_NAME=\"small\";FIXTURE_MINOR=0"
    "large;FIXTURE_LARGE_STRATEGY;FIXTURE_NAME=\"large\";FIXTURE_MINOR=40"
    "long_options;FIXTURE_OPTION_SIZE;FIXTURE_NAME=\"long-options\""
    "unknown_interface;FIXTURE_UNKNOWN_INTERFACE;FIXTURE_NAME=\"with-power\""
    "cuda;FIXTURE_BACKEND=\"cuda\";FIXTURE_NAME=\"beside-cuda\""
    "wrong_major;FIXTURE_MAJOR=2;FIXTURE_CONSTRUCTOR"
    "wrong_major_small;FIXTURE_MAJOR=0;FIXTURE_PLUGIN_SIZE=16"
    "wrong_magic;FIXTURE_MAGIC=0x11111111;FIXTURE_CONSTRUCTOR"
    "short_entry;FIXTURE_PLUGIN_SIZE=24;FIXTURE_CONSTRUCTOR"
    "no_symbol;FIXTURE_NO_SYMBOL;FIXTURE_CONSTRUCTOR"
    "hidden_symbol;FIXTURE_HIDDEN"
    "no_license;FIXTURE_NO_LICENSE"
    "bad_plugin_name;FIXTURE_PLUGIN_NAME=\"Bad Name\""
    "bad_name;FIXTURE_NAME=\"../etc\""
    "auto_backend;FIXTURE_BACKEND=\"auto\";FIXTURE_NAME=\"beside-auto\""
    "no_plan;FIXTURE_NO_PLAN;FIXTURE_NAME=\"no-plan\""
    "no_summary;FIXTURE_NO_SUMMARY;FIXTURE_NAME=\"no-summary\""
    "cut;FIXTURE_CUT_STRATEGY;FIXTURE_NAME=\"cut\""
    "tiny;FIXTURE_TINY_STRATEGY;FIXTURE_NAME=\"tiny\""
    "no_bound;FIXTURE_BACKEND=\"no-bound\";FIXTURE_NO_BOUND;FIXTURE_NAME=\"beside-no-bound\""
    "null_interface;FIXTURE_NULL_INTERFACE;FIXTURE_NAME=\"null-interface\""
    "null_table;FIXTURE_NULL_TABLE;FIXTURE_NAME=\"null-table\""
    "twice;FIXTURE_TWICE;FIXTURE_NAME=\"twice\""
    "no_options;FIXTURE_OPTION_COUNT=4;FIXTURE_NAME=\"no-options\""
    "bad_preset;FIXTURE_BAD_PRESET;FIXTURE_NAME=\"bad-preset\""
    "same_options;FIXTURE_SAME_OPTIONS;FIXTURE_NAME=\"same-options\""
    "short_options;FIXTURE_SHORT_OPTIONS;FIXTURE_NAME=\"short-options\""
    "no_choices;FIXTURE_NO_CHOICES;FIXTURE_NAME=\"no-choices\""
    "undefined;FIXTURE_EXTERN;FIXTURE_NAME=\"undefined\"")
  set(others "function;FIXTURE_FUNCTION" "zeros;FIXTURE_ZEROS" "int;FIXTURE_INT")
  foreach(source plugins other_entries)
    if(source STREQUAL "plugins")
      set(lines "${fixtures}")
    else()
      set(lines "${others}")
    endif()
    # a line's name starts the list again: items with FIXTURE_ belong to the name before them
    set(names "")
    foreach(item IN LISTS lines)
      if(item MATCHES "^FIXTURE_")
        list(APPEND definitions_${name} "${item}")
      else()
        set(name ${item})
        list(APPEND names ${name})
        set(definitions_${name} "")
      endif()
    endforeach()
    foreach(name IN LISTS names)
      perennial_add_plugin(fixture_${name} ${CMAKE_SOURCE_DIR}/tests/plugin/fixtures/${source}.c)
      target_compile_definitions(fixture_${name} PRIVATE ${definitions_${name}})
      set_target_properties(fixture_${name} PROPERTIES OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fixture-plugins)
      add_dependencies(${PRN_TEST_TARGET} fixture_${name})
    endforeach()
  endforeach()
endif()
