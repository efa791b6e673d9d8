# Compiler flags shared by every target. One set of flags, so that all targets can reuse one
# precompiled header: position-independent code is asked for here and not target by target.
add_compile_options(-Wall -Wextra -Wpedantic -Wno-unused-parameter -Wno-missing-field-initializers -fPIC -fno-omit-frame-pointer
                    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -fvisibility=hidden)
if(ZERROW_SANITIZE)
  add_compile_options(-fsanitize=${ZERROW_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ZERROW_SANITIZE})
endif()
find_program(ZERROW_MOLD mold)
if(ZERROW_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-fuse-ld=mold)
endif()
