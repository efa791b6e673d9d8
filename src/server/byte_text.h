// Bytes as text that JSON can carry: each byte becomes the code point of its value.
//
// Paths, environments and what functions print needn't be UTF-8. ASCII stays what it is. Any
// thread.
#pragma once

#include <arrow/result.h>

#include <string>
#include <string_view>

namespace zerrow::server {

std::string ToByteText(std::string_view bytes);
/// SerializationError: a code point above U+00FF, or no UTF-8.
arrow::Result<std::string> FromByteText(std::string_view text);

}  // namespace zerrow::server
