#include "server/byte_text.h"

namespace zerrow::server {

std::string ToByteText(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

arrow::Result<std::string> FromByteText(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first < 0x80) {
      bytes += text[i];
      continue;
    }
    const auto second = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((first != 0xC2 && first != 0xC3) || (second & 0xC0) != 0x80) {
      return arrow::Status::SerializationError("a text that stands for bytes has something else");
    }
    bytes += static_cast<char>(((first & 0x03) << 6) | (second & 0x3F));
    ++i;
  }
  return bytes;
}

}  // namespace zerrow::server
