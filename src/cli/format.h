// Numbers and tables as people read them.
//
// Pure functions and one small value class; any thread. Text is UTF-8; widths are a terminal's
// columns as the C library knows them: two of a Chinese character, none of a combining one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zerrow::cli {

/// "0 B", "512 B", "1.5 KiB", "30.9 MiB", "2.0 GiB".
std::string FormatBytes(int64_t bytes);
/// A memory limit; "none" of nullopt.
std::string FormatLimit(std::optional<int64_t> bytes);

/// "336,776".
std::string FormatCount(int64_t count);

/// "0.004 s", "1.23 s", "75.0 s", "3 min 20 s".
std::string FormatSeconds(double seconds);

/// "1 file", "12 files".
std::string FormatPlural(int64_t count, std::string_view singular);

/// One line that can't disturb a terminal: line ends, tabs, control characters and what isn't UTF-8
/// become escapes, and what is longer than `max_width` ends in "…".
std::string OneLine(std::string_view text, size_t max_width);

size_t DisplayWidth(std::string_view text);

/// Rows of cells with a heading, printed with aligned columns. `styles` wrap a cell in an escape
/// sequence that doesn't count for its width.
class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };
  struct Cell {
    std::string text;
    std::string style;  // an SGR sequence such as "\033[31m"; empty: plain
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// As many cells as there are columns.
  void AddRow(std::vector<Cell> cells);
  /// Of the widest line.
  size_t width() const;
  /// `heading_style` as a cell's. Each line ends in a newline, none in blanks.
  std::string ToString(std::string_view heading_style = "") const;

 private:
  std::vector<size_t> Widths() const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace zerrow::cli
