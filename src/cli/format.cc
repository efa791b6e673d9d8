#include "cli/format.h"

#include <arrow/util/logging.h>
#include <fmt/core.h>
#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cwchar>
#include <numeric>

namespace zerrow::cli {

namespace {

constexpr std::string_view kReset = "\033[0m";
constexpr std::string_view kGap = "  ";  // between columns

// While it lives this thread's characters are UTF-8, whatever the user's locale is.
class Utf8 {
 public:
  Utf8() : before_(::uselocale(Locale())) {}
  ~Utf8() { ::uselocale(before_); }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;

 private:
  static locale_t Locale() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    ARROW_CHECK(locale != nullptr) << "the C library has no locale C.UTF-8";
    return locale;
  }

  locale_t before_;
};

struct Character {
  size_t bytes = 1;
  wchar_t code = 0;
  int width = -1;  // negative: not to be printed
};

// The first of a text that isn't empty; of what isn't UTF-8 its first byte.
Character First(std::string_view text, const Utf8&) {
  Character first;
  std::mbstate_t state{};
  const size_t bytes = std::mbrtowc(&first.code, text.data(), text.size(), &state);
  if (bytes > text.size()) {
    first.code = static_cast<unsigned char>(text.front());
    return first;
  }
  first.bytes = std::max<size_t>(bytes, 1);
  first.width = first.code == 0 ? -1 : ::wcwidth(first.code);
  return first;
}

std::string Escape(const Character& character) {
  switch (character.code) {
    case L'\n':
      return "\\n";
    case L'\r':
      return "\\r";
    case L'\t':
      return "\\t";
    default: {
      const std::wint_t code = std::char_traits<wchar_t>::to_int_type(character.code);
      return character.bytes == 1 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
    }
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
  const Utf8 utf8;
  std::string line;
  size_t width = 0;
  size_t cut = 0;  // the longest beginning of `line` that leaves room for "…"
  for (size_t at = 0; at < text.size();) {
    const Character next = First(text.substr(at), utf8);
    const std::string piece =
        next.width < 0 ? Escape(next) : std::string(text.substr(at, next.bytes));
    const size_t piece_width = next.width < 0 ? piece.size() : static_cast<size_t>(next.width);
    if (width + piece_width > max_width) return line.substr(0, cut) + "…";
    line += piece;
    width += piece_width;
    if (width < max_width) cut = line.size();
    at += next.bytes;
  }
  return line;
}

size_t DisplayWidth(std::string_view text) {
  const Utf8 utf8;
  size_t width = 0;
  while (!text.empty()) {
    const Character next = First(text, utf8);
    width += static_cast<size_t>(std::max(next.width, 0));
    text.remove_prefix(next.bytes);
  }
  return width;
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
