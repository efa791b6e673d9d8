// Fields of messages that aren't trusted: of another type counts as not there.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace zerrow::engine {

inline double NumberOr(const nlohmann::json& body, const char* key, double otherwise) {
  const auto value = body.find(key);
  return value != body.end() && value->is_number() ? value->get<double>() : otherwise;
}

inline int64_t IntegerOr(const nlohmann::json& body, const char* key, int64_t otherwise) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_number_integer()) return otherwise;
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) return otherwise;
  return value->get<int64_t>();
}

inline bool Flag(const nlohmann::json& body, const char* key) {
  const auto value = body.find(key);
  return value != body.end() && value->is_boolean() && value->get<bool>();
}

inline std::string Text(const nlohmann::json& body, const char* key) {
  if (!body.is_object()) return "";
  const auto value = body.find(key);
  return value != body.end() && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace zerrow::engine
