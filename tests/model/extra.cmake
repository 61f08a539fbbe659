# The slow parity test compares loss and gradients too, which the training room computes.
if(PRN_TEST_TARGET STREQUAL "test_model_vit_b_32")
  target_link_libraries(${PRN_TEST_TARGET} PRIVATE prn_train)
endif()
