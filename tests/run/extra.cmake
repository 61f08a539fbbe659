# The cpu backend with less memory, for test_micro_batch.
if(PRN_TEST_TARGET STREQUAL "test_run_micro_batch")
  perennial_add_plugin(fixture_narrow ${CMAKE_SOURCE_DIR}/tests/run/fixtures/narrow.c)
  target_compile_definitions(fixture_narrow PRIVATE PRN_NARROW_CPU="${CMAKE_BINARY_DIR}/plugins/backend_cpu.so")
  set_target_properties(fixture_narrow PROPERTIES OUTPUT_NAME narrow LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/narrow-plugins)
  target_link_libraries(fixture_narrow PRIVATE ${CMAKE_DL_LIBS})
  add_dependencies(${PRN_TEST_TARGET} fixture_narrow)
endif()
