# The strategies that test_suite finds wanting, in tests/broken-strategies of the build folder: one build of fixtures/broken.c for each,
# and the whole one beside them.
if(PRN_TEST_TARGET STREQUAL "test_strategies_suite")
  foreach(way whole no_help silent leak malloc random counting future peeking refusing deaf boasting cheating greedy teacherless shape compose
      nan_loss stateful clock losing idle secret_set swallowing nan_finish nan_kept hoarding wasteful older)
    string(TOUPPER ${way} definition)
    perennial_add_plugin(broken_${way} ${CMAKE_SOURCE_DIR}/tests/strategies/fixtures/broken.c)
    target_compile_definitions(broken_${way} PRIVATE BROKEN_${definition} BROKEN_NAME="${way}")
    target_compile_options(broken_${way} PRIVATE -Wno-unused-variable -Wno-unused-but-set-variable)
    set_target_properties(broken_${way} PROPERTIES OUTPUT_NAME ${way} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/broken-strategies)
    add_dependencies(${PRN_TEST_TARGET} broken_${way})
  endforeach()
endif()
