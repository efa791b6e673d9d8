# Helpers that keep the folders' CMakeLists.txt to lists of names.

# arrow/api.h costs seconds in every translation unit, so all targets share one precompiled header.
file(WRITE "${CMAKE_BINARY_DIR}/pch.cc" "")
add_library(zerrow_pch OBJECT "${CMAKE_BINARY_DIR}/pch.cc")
target_link_libraries(zerrow_pch PRIVATE Arrow::arrow)
target_precompile_headers(zerrow_pch PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${CMAKE_SOURCE_DIR}/cmake/pch.h>")

function(_zerrow_common target pch)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/include" "${CMAKE_SOURCE_DIR}/src")
  target_precompile_headers(${target} REUSE_FROM ${pch})
  set_target_properties(${target} PROPERTIES BUILD_RPATH "${ZERROW_PYARROW_DIR}")
endfunction()

# zerrow_library(NAME SOURCES ... LINK ...): one static library, a layer or a part of one.
function(zerrow_library target)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(${target} STATIC ${arg_SOURCES})
  target_link_libraries(${target} PUBLIC Arrow::arrow ${arg_LINK})
  _zerrow_common(${target} zerrow_pch)
endfunction()

# zerrow_executable(NAME SOURCES ... LINK ... [PCH target])
function(zerrow_executable target)
  cmake_parse_arguments(arg "" "PCH" "SOURCES;LINK" ${ARGN})
  if(NOT arg_PCH)
    set(arg_PCH zerrow_pch)
  endif()
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE Arrow::arrow ${arg_LINK})
  _zerrow_common(${target} ${arg_PCH})
endfunction()

# zerrow_test(NAME SOURCES ... LINK ... [LABELS no_asan no_tsan]): a GoogleTest binary, run by ctest as one test.
# The labels: where that sanitizer would find nothing, as TSan without threads, it is neither built nor run under it.
# `zerrow_tests` builds all others and what they need.
add_custom_target(zerrow_tests)

# Tests' own code runs for moments and is compiled often: a header of their own, and less optimizing.
if(ZERROW_BUILD_TESTS)
  add_library(zerrow_test_pch OBJECT EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/pch.cc")
  target_link_libraries(zerrow_test_pch PRIVATE Arrow::arrow GTest::gtest)
  target_compile_options(zerrow_test_pch PRIVATE -O1)
  target_precompile_headers(zerrow_test_pch PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${CMAKE_SOURCE_DIR}/cmake/pch.h>"
                            "$<$<COMPILE_LANGUAGE:CXX>:<gtest/gtest.h$<ANGLE-R>>")
endif()

function(zerrow_test target)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ZERROW_BUILD_TESTS OR (ZERROW_SANITIZE MATCHES "address" AND "no_asan" IN_LIST arg_LABELS)
     OR (ZERROW_SANITIZE MATCHES "thread" AND "no_tsan" IN_LIST arg_LABELS))
    return()
  endif()
  zerrow_executable(${target} SOURCES ${arg_SOURCES} LINK ${arg_LINK} GTest::gtest_main PCH zerrow_test_pch)
  target_compile_options(${target} PRIVATE -O1)
  add_dependencies(zerrow_tests ${target})
  add_test(NAME ${target} COMMAND ${target} --gtest_brief=1)
  set_tests_properties(${target} PROPERTIES TIMEOUT 300 LABELS "${arg_LABELS}")
endfunction()

# zerrow_bench(NAME SOURCES ... LINK ...): a Google Benchmark binary; `make bench` runs it.
function(zerrow_bench target)
  if(NOT ZERROW_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  zerrow_executable(${target} SOURCES ${arg_SOURCES} LINK ${arg_LINK} benchmark::benchmark)
endfunction()

# zerrow_fuzz(NAME SOURCES ... LINK ...): libFuzzer where clang builds it; otherwise nothing.
function(zerrow_fuzz target)
  if(NOT ZERROW_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  zerrow_executable(${target} SOURCES ${arg_SOURCES} LINK ${arg_LINK})
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)
endfunction()

# zerrow_package(TARGET [FOLDER name]): installs the target into the Python package's folder, from
# where it finds pyarrow's libraries beside that package. A plain build also copies it into
# python/zerrow, so that PYTHONPATH=python is enough to try a change. `zerrow_packaged` builds all of
# these targets, and so what a user needs without the tests.
add_custom_target(zerrow_packaged)

function(zerrow_package target)
  cmake_parse_arguments(arg "" "FOLDER" "" ${ARGN})
  if(arg_FOLDER)
    set(origin "$ORIGIN/../../pyarrow")
  else()
    set(origin "$ORIGIN/../pyarrow")
  endif()
  add_dependencies(zerrow_packaged ${target})
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "${origin}")
  install(TARGETS ${target} DESTINATION "zerrow/${arg_FOLDER}")
  if(NOT ZERROW_SANITIZE)
    set(folder "${CMAKE_SOURCE_DIR}/python/zerrow/${arg_FOLDER}")
    add_custom_command(TARGET ${target} POST_BUILD
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${folder}"
      COMMAND "${CMAKE_COMMAND}" -E copy_if_different "$<TARGET_FILE:${target}>" "${folder}/")
  endif()
endfunction()
