// JSON from a peer that isn't trusted, with what it may cost said beforehand.
//
// nlohmann's values are copied, compared and written recursively, so that a deeply nested document
// ends the process wherever it is touched; and a value takes many times its text. Both are refused
// while the text is read: no such document ever exists. Functions of their arguments, any thread.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

namespace zerrow::base {

struct JsonLimits {
  size_t depth = 64;                // of arrays and objects within each other
  size_t values = size_t{1} << 22;  // keys not counted; each takes 100 bytes or so
};

/// The one document that `text` is. SerializationError: not JSON (text must be UTF-8, numbers
/// finite), an object that has a key twice, or beyond the limits.
arrow::Result<nlohmann::json> ParseJson(std::string_view text, const JsonLimits& limits = {});

}  // namespace zerrow::base
