# Kernels are compiled to one fat binary (machine code for sm_80 and sm_90, PTX for later devices), which becomes a part of the plugin.
# Neither the driver nor cuBLASLt is linked: see driver.h.
set(PRN_FATBIN_DIR ${CMAKE_BINARY_DIR}/cuda)
file(GLOB PRN_KERNEL_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cu ${CMAKE_CURRENT_LIST_DIR}/*.cuh)
file(MAKE_DIRECTORY ${PRN_FATBIN_DIR})
add_custom_command(OUTPUT ${PRN_FATBIN_DIR}/kernels.fatbin
  COMMAND ${PRN_NVCC} -std=c++17 -O3 --Werror all-warnings -Xcompiler -Wall,-Wextra,-Wshadow
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90
    -fatbin ${CMAKE_CURRENT_LIST_DIR}/kernels.cu -o ${PRN_FATBIN_DIR}/kernels.fatbin
  DEPENDS ${PRN_KERNEL_SOURCES} ${CMAKE_CURRENT_LIST_DIR}/kernels.h
  COMMENT "Compiling CUDA kernels for sm_80 and sm_90" VERBATIM)
add_custom_target(cuda_kernels DEPENDS ${PRN_FATBIN_DIR}/kernels.fatbin)
add_dependencies(${PRN_PLUGIN_TARGET} cuda_kernels)
target_include_directories(${PRN_PLUGIN_TARGET} SYSTEM PRIVATE ${PRN_CUDA_ROOT}/include)
target_compile_definitions(${PRN_PLUGIN_TARGET} PRIVATE PRN_FATBIN="${PRN_FATBIN_DIR}/kernels.fatbin")
set_property(SOURCE ${CMAKE_CURRENT_LIST_DIR}/fatbin.c APPEND PROPERTY OBJECT_DEPENDS ${PRN_FATBIN_DIR}/kernels.fatbin)
target_link_libraries(${PRN_PLUGIN_TARGET} PRIVATE m ${CMAKE_DL_LIBS})
