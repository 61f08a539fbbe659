# The preprocessing parity test reads its expected tensors with the model room's safetensors reader.
if(PRN_TEST_TARGET STREQUAL "test_data_preprocess")
  target_link_libraries(${PRN_TEST_TARGET} PRIVATE prn_model)
endif()
