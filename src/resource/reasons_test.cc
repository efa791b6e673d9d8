#include "resource/reasons.h"

#include <gtest/gtest.h>

#include "resource/events.h"

namespace zerrow::resource {
namespace {

std::string Explained(Reason reason, const Figures& why) {
  Decision decision;
  decision.reason = reason;
  decision.why = why;
  return Explain(decision, [](TaskId task) { return "m" + std::to_string(task.index); });
}

TEST(Reasons, EachCanBeRead) {
  for (int reason = 0; reason <= static_cast<int>(Reason::kInputUnreadable); ++reason) {
    EXPECT_NE(ToString(static_cast<Reason>(reason)), "unknown") << reason;
    EXPECT_EQ(Explained(static_cast<Reason>(reason), {}).find("unknown"), std::string::npos);
  }
}

TEST(Reasons, WhoRoomIsMadeForIsNamed) {
  Figures why;
  EXPECT_EQ(Explained(Reason::kMakeRoom, why), "to make room");
  why.beneficiary = TaskId{1, 4};
  why.needed_bytes = 1'500'000'000;
  EXPECT_EQ(Explained(Reason::kMakeRoom, why), "to make room for 'm4', which needs 1.5 GB");
  why.needed_bytes = 0;
  EXPECT_EQ(Explained(Reason::kNeeded, why), "'m4' reads it");
}

TEST(Reasons, WhatIsTooLargeSaysHowMuchItNeedsAndWhoseLimitItIs) {
  Figures why;
  why.needed_bytes = 3'140'000'000;
  why.limit_bytes = 1'000'000'000;
  EXPECT_EQ(Explained(Reason::kTooLarge, why),
            "it needs at least 3.14 GB with its inputs, which the engine's memory limit of 1 GB "
            "doesn't allow; raise --memory-limit, or give it less to do");
  why.of_run = true;
  why.others_bytes = 999'900;
  EXPECT_EQ(Explained(Reason::kTooLarge, why),
            "it needs at least 3.14 GB with its inputs, which the run's memory limit of 1 GB "
            "doesn't allow beside 1 MB that can't go; raise --memory-limit, or give it less to do");
  why.reserve_bytes = 120'000'000;
  EXPECT_NE(Explained(Reason::kTooLarge, why)
                .find("beside 1 MB that can't go and 120 MB that Zerrow itself needs;"),
            std::string::npos);
}

TEST(Reasons, ALimitThatIsTooSmallForZerrowSaysWhatItNeeds) {
  EXPECT_EQ(TooSmall(60'000'000, 83'886'080),
            "the engine's memory limit of 60 MB is less than Zerrow itself needs, which is 83.9 MB "
            "at least; raise --memory-limit");
}

TEST(Reasons, WhatCouldntBeMadeAgainSaysWhy) {
  Figures why;
  EXPECT_EQ(Explained(Reason::kInputNotRemade, why),
            "a table that it reads was dropped and couldn't be made again");
  why.needed_bytes = 600;
  why.limit_bytes = 500;
  why.beneficiary = {1, 2};
  EXPECT_EQ(Explained(Reason::kInputNotRemade, why),
            "a table that it reads was dropped and couldn't be made again: 'm2' needs at least "
            "600 B with its inputs, which the engine's memory limit of 500 B doesn't allow; raise "
            "--memory-limit, or give it less to do");
}

TEST(Reasons, BytesAreReadable) {
  const auto bytes = [](int64_t amount) {
    Figures why;
    why.limit_bytes = amount;
    const std::string text = Explained(Reason::kOverLimit, why);
    const size_t from = text.find("limit of ") + 9;
    return text.substr(from, text.find(" allows") - from);
  };
  EXPECT_EQ(bytes(0), "0 B");
  EXPECT_EQ(bytes(999), "999 B");
  EXPECT_EQ(bytes(1234), "1.23 kB");
  EXPECT_EQ(bytes(123'456), "123 kB");
  EXPECT_EQ(bytes(999'999), "1 MB");
  EXPECT_EQ(bytes(5'000'000'000'000), "5 TB");
  EXPECT_EQ(bytes(5'000'000'000'000'000), "5000 TB");
}

}  // namespace
}  // namespace zerrow::resource
