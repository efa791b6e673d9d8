// Reasons in words.
#include "resource/reasons.h"

#include <cstdio>

#include "resource/events.h"

namespace zerrow::resource {

std::string InDecimal(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto amount = static_cast<double>(bytes);
  size_t unit = 0;
  while (amount >= 999.5 && unit + 1 < std::size(kUnits)) {
    amount /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || amount >= 99.5 ? "%.0f %s" : "%.3g %s", amount,
                kUnits[unit]);
  return text;
}

namespace {

std::string Limit(const Figures& why) {
  return std::string(why.of_run ? "the run's" : "the engine's") + " memory limit of " +
         InDecimal(why.limit_bytes);
}

std::string TooMuch(const Figures& why) {
  std::string text = "needs at least " + InDecimal(why.needed_bytes) + " with its inputs, which " +
                     Limit(why) + " doesn't allow";
  if (why.others_bytes > 0) text += " beside " + InDecimal(why.others_bytes) + " that can't go";
  if (why.reserve_bytes > 0) {
    text += std::string(why.others_bytes > 0 ? " and " : " beside ") +
            InDecimal(why.reserve_bytes) + " that Zerrow itself needs";
  }
  return text + "; raise --memory-limit, or give it less to do";
}

}  // namespace

std::string TooSmall(int64_t limit_bytes, int64_t reserve_bytes) {
  Figures why;
  why.limit_bytes = limit_bytes;
  return Limit(why) + " is less than Zerrow itself needs, which is " + InDecimal(reserve_bytes) +
         " at least; raise --memory-limit";
}

std::string_view ToString(Reason reason) {
  switch (reason) {
    case Reason::kInputsThere:
      return "its inputs are there and a slot is free";
    case Reason::kLost:
      return "its last attempt was lost without its doing";
    case Reason::kRefused:
      return "it was refused memory, as the limit was met";
    case Reason::kEnded:
      return "it ended";
    case Reason::kTimeUp:
      return "its time is up";
    case Reason::kCancelled:
      return "the run was cancelled";
    case Reason::kInputFailed:
      return "what it needs wasn't made";
    case Reason::kUnread:
      return "nothing reads it any more";
    case Reason::kAllEnded:
      return "all its tasks have ended";
    case Reason::kTriedAlone:
      return "it is expected to need more than there is, and is tried alone";
    case Reason::kAgainAlone:
      return "it had needed more than expected, and runs again alone";
    case Reason::kMadeRoom:
      return "it had been stopped to make room, and runs again";
    case Reason::kRemake:
      return "its table was dropped and is needed again";
    case Reason::kMakeRoom:
      return "to make room";
    case Reason::kOverLimit:
      return "more memory is used than the limit allows";
    case Reason::kBelowLimit:
      return "there is enough memory again";
    case Reason::kCopied:
      return "it is on disk";
    case Reason::kNeeded:
      return "it is about to be read";
    case Reason::kTooLarge:
      return "it needs more memory than the limit allows, even alone";
    case Reason::kInputNotRemade:
      return "a table that it reads was dropped and couldn't be made again";
    case Reason::kInputUnreadable:
      return "a table that it reads was written to disk and can't be read back";
    case Reason::kTableUnreadable:
      return "its table was written to disk and can't be read back";
    case Reason::kDiffers:
      return "its table came out differently when it was made again";
    case Reason::kOutdated:
      return "what it had read is outdated";
  }
  return "unknown";
}

std::string Explain(const Decision& decision, const std::function<std::string(TaskId)>& name_of) {
  const Figures& why = decision.why;
  std::string text(ToString(decision.reason));
  switch (decision.reason) {
    case Reason::kMakeRoom:
    case Reason::kNeeded:
      if (!why.beneficiary) return text;
      text = decision.reason == Reason::kNeeded ? "'" + name_of(*why.beneficiary) + "' reads it"
                                                : text + " for '" + name_of(*why.beneficiary) + "'";
      if (why.needed_bytes > 0) text += ", which needs " + InDecimal(why.needed_bytes);
      return text;
    case Reason::kOutdated:
      if (!why.cause) return text;
      return "the table of '" + name_of(*why.cause) +
             "', which it stems from, is another one by now";
    case Reason::kOverLimit:
      return "more is used than " + Limit(why) + " allows" +
             (why.needed_bytes > 0 ? "; it has " + InDecimal(why.bytes) : "");
    case Reason::kTooLarge:
      return "it " + TooMuch(why);
    case Reason::kInputNotRemade:
      if (!why.beneficiary) return text;
      return text + ": '" + name_of(*why.beneficiary) + "' " + TooMuch(why);
    default:
      return text;
  }
}

}  // namespace zerrow::resource
