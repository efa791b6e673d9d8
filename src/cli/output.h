// Writing to stdout and stderr, where a reader may be gone or a disk full.
#pragma once

#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace zerrow::cli {

/// Writes and flushes. What can't be written is noted: see OutputFailed.
void PrintTo(FILE* stream, std::string_view text);

/// One document on stdout. Bytes that aren't UTF-8, which functions may print, are replaced.
void PrintJson(const nlohmann::json& document);

/// Whether something couldn't be written to stdout: then success mustn't be claimed.
bool OutputFailed();

}  // namespace zerrow::cli
