# The expected ids are JSON; the hostile vocabulary files are packed in the test.
target_link_libraries(${PRN_TEST_TARGET} PRIVATE PkgConfig::JANSSON PkgConfig::ZLIB Threads::Threads)
