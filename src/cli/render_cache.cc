// `zerrow cache ls` as text.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/render.h"

namespace zerrow::cli {

using nlohmann::json;

namespace {

constexpr size_t kMaxFileWidth = 60;
constexpr size_t kMaxColumnWidth = 40;

// The end of a path says more than its beginning.
std::string Shortened(const std::string& path) {
  if (DisplayWidth(path) <= kMaxFileWidth) return OneLine(path, kMaxFileWidth);
  size_t begin = path.size() - kMaxFileWidth + 1;
  while (begin < path.size() && (path[begin] & 0xC0) == 0x80) ++begin;
  return "…" + OneLine(path.substr(begin), kMaxFileWidth);
}

std::string Groups(const json& entry) {
  const int64_t first = entry.at("row_group");
  const int64_t count = entry.at("row_groups");
  return count == 1 ? std::to_string(first) : fmt::format("{}-{}", first, first + count - 1);
}

}  // namespace

std::string RenderCache(const json& cache, const Style& style) {
  using Align = TextTable::Align;
  const json& entries = cache.at("entries");
  if (entries.empty()) return "the cache is empty\n";
  TextTable table({{"file"},
                   {"row group", Align::kRight},
                   {"column"},
                   {"size", Align::kRight},
                   {"hits", Align::kRight},
                   {"decoding", Align::kRight},
                   {"saved", Align::kRight}});
  double saved_s = 0;
  for (const json& entry : entries) {
    saved_s += entry.at("saved_s").get<double>();
    table.AddRow({{Shortened(entry.at("file"))},
                  {Groups(entry)},
                  {OneLine(entry.at("column").get<std::string>(), kMaxColumnWidth)},
                  {FormatBytes(entry.at("bytes"))},
                  {FormatCount(entry.at("hits"))},
                  {FormatSeconds(entry.at("decode_s"))},
                  {FormatSeconds(entry.at("saved_s"))}});
  }
  return table.ToString(style.dim()) +
         fmt::format("{} in {}, {} of decoding saved\n", FormatBytes(cache.at("bytes")),
                     FormatPlural(static_cast<int64_t>(entries.size()), "column chunk"),
                     FormatSeconds(saved_s));
}

}  // namespace zerrow::cli
