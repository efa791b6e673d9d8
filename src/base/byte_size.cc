#include "base/byte_size.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace zerrow::base {

using arrow::Status;

namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view TakeDigits(std::string_view& text) {
  const auto end = std::find_if_not(text.begin(), text.end(), IsDigit);
  const auto count = static_cast<size_t>(end - text.begin());
  const std::string_view digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

std::optional<int64_t> UnitOf(std::string_view name) {
  constexpr std::pair<std::string_view, int64_t> kUnits[] = {{"", 1},
                                                             {"b", 1},
                                                             {"kb", 1'000},
                                                             {"mb", 1'000'000},
                                                             {"gb", 1'000'000'000},
                                                             {"tb", 1'000'000'000'000},
                                                             {"kib", int64_t{1} << 10},
                                                             {"mib", int64_t{1} << 20},
                                                             {"gib", int64_t{1} << 30},
                                                             {"tib", int64_t{1} << 40}};
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [unit, bytes] : kUnits) {
    if (unit == lower) return bytes;
  }
  return std::nullopt;
}

// Of "25" a quarter of the unit.
int64_t FractionOf(std::string_view digits, int64_t unit) {
  double share = 0;
  double place = 1;
  for (const char digit : digits) share += (digit - '0') * (place /= 10);
  return std::llround(share * static_cast<double>(unit));
}

}  // namespace

arrow::Result<int64_t> ParseBytes(std::string_view text) {
  const auto refuse = [text] {
    return Status::Invalid("'", text, "' is no size; write bytes, or a unit as in 1GB or 512MiB");
  };
  std::string_view rest = text;
  const std::string_view whole = TakeDigits(rest);
  std::string_view fraction;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    fraction = TakeDigits(rest);
    if (fraction.empty()) return refuse();
  }
  if (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  const auto unit = UnitOf(rest);
  // There is no part of a byte, and nothing follows on a blank but a unit.
  if (whole.empty() || !unit || text.back() == ' ' || (*unit == 1 && !fraction.empty())) {
    return refuse();
  }
  int64_t count = 0;
  const bool fits = std::from_chars(whole.begin(), whole.end(), count).ec == std::errc();
  const int64_t more = FractionOf(fraction, *unit);
  if (!fits || count > (std::numeric_limits<int64_t>::max() - more) / *unit) {
    return Status::Invalid("'", text, "' is more bytes than 63 bits can count");
  }
  return count * *unit + more;
}

}  // namespace zerrow::base
