#include "cli/format.h"

#include <arrow/util/logging.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace zerrow::cli {

namespace {

constexpr std::string_view kReset = "\033[0m";
constexpr std::string_view kGap = "  ";  // between columns

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// One character as it may be sent to a terminal.
std::string Printable(std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  switch (first) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      if (first < 0x20 || first == 0x7F) return fmt::format("\\x{:02x}", first);
      return std::string(character);
  }
}

void AppendPadded(const TextTable::Cell& cell, size_t width, TextTable::Align align,
                  std::string* line) {
  const size_t own = DisplayWidth(cell.text);
  const std::string padding(width > own ? width - own : 0, ' ');
  const std::string text =
      cell.style.empty() ? cell.text : cell.style + cell.text + std::string(kReset);
  *line += align == TextTable::Align::kRight ? padding + text : text + padding;
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<std::string_view, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be printed as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatLimit(std::optional<int64_t> bytes) {
  return bytes ? FormatBytes(*bytes) : "none";
}

std::string FormatCount(int64_t count) {
  std::string digits = std::to_string(count);
  const size_t first = digits.front() == '-' ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string FormatSeconds(double seconds) {
  if (seconds < 0.1) return fmt::format("{:.3f} s", seconds);
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  return fmt::format("{} min {} s", whole / 60, whole % 60);
}

std::string FormatPlural(int64_t count, std::string_view singular) {
  return fmt::format("{} {}{}", FormatCount(count), singular, count == 1 ? "" : "s");
}

std::string OneLine(std::string_view text, size_t max_width) {
  std::string line;
  size_t width = 0;
  size_t cut = 0;  // the longest beginning of `line` that leaves room for "…"
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && IsContinuation(text[end])) ++end;
    const std::string piece = Printable(text.substr(at, end - at));
    const size_t piece_width = DisplayWidth(piece);
    if (width + piece_width > max_width) return line.substr(0, cut) + "…";
    line += piece;
    width += piece_width;
    if (width < max_width) cut = line.size();
    at = end;
  }
  return line;
}

size_t DisplayWidth(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), IsContinuation));
}

void TextTable::AddRow(std::vector<Cell> cells) {
  ARROW_CHECK_EQ(cells.size(), columns_.size());
  rows_.push_back(std::move(cells));
}

std::vector<size_t> TextTable::Widths() const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.heading));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
    }
  }
  return widths;
}

size_t TextTable::width() const {
  const std::vector<size_t> widths = Widths();
  return std::accumulate(widths.begin(), widths.end(), kGap.size() * (widths.size() - 1));
}

std::string TextTable::ToString(std::string_view heading_style) const {
  const std::vector<size_t> widths = Widths();
  std::string text;
  const auto append = [&](const std::vector<Cell>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += kGap;
      AppendPadded(row[i], widths[i], columns_[i].align, &line);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  std::vector<Cell> headings;
  for (const Column& column : columns_) {
    headings.push_back({column.heading, std::string(heading_style)});
  }
  append(headings);
  for (const auto& row : rows_) append(row);
  return text;
}

}  // namespace zerrow::cli
