// Which task is begun first, where what follows would not fit.
#include "resource/outlook.h"

#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

class Outlook : public MemoryTest {
 protected:
  /// Runs all, one at a time, each with the table that it was expected to make: in which order.
  std::vector<size_t> OrderOf(const std::vector<TaskSpec>& tasks) {
    Add(tasks, kRun, {}, 1);
    std::vector<size_t> order;
    while (order.size() < tasks.size()) {
      const Decision& start = Last(Decision::Kind::kStart);
      if (start.kind != Decision::Kind::kStart) break;
      const size_t index = start.task.index;
      order.push_back(index);
      std::vector<SegmentBytes> table;
      const int64_t bytes = tasks[index].expected.output_bytes;
      if (bytes > 0) table.push_back({SegmentId{100 + index}, bytes});
      Succeed(index, table);
    }
    return order;
  }
};

/// Makes a table of so many bytes, and needs so many besides.
TaskSpec Makes(int64_t bytes, TaskSpec spec, int64_t besides = 0) {
  spec.expected = {bytes, besides, 1};
  return spec;
}

TEST_F(Outlook, WhatNeedsRoomThatAnotherWouldTakeComesFirst) {
  // The table of 2 is smaller than 0's, but 0 doesn't fit beside it, and 2 beside what 0 leads to.
  EXPECT_EQ(OrderOf({Makes(630, Reads({}), 100), Makes(110, Reads({0})), Makes(400, Reads({})),
                     Makes(130, Reads({0})), Makes(70, Reads({2, 3}))}),
            (std::vector<size_t>{0, 1, 3, 2, 4}));
}

TEST_F(Outlook, AChainWaitsForWhatFreesItsBeginning) {
  // 1 before 4 would keep 0's table while 2 needs the room.
  EXPECT_EQ(OrderOf({Makes(340, Reads({})), Makes(226, Reads({0}), 330), Makes(760, Reads({1})),
                     Makes(510, Reads({})), Makes(126, Reads({0, 3}))}),
            (std::vector<size_t>{3, 0, 4, 1, 2}));
}

TEST_F(Outlook, WhereAllFitsRanksDecide) {
  EXPECT_EQ(OrderOf({Makes(63, Reads({}), 10), Makes(11, Reads({0})), Makes(40, Reads({})),
                     Makes(13, Reads({0})), Makes(7, Reads({2, 3}))}),
            (std::vector<size_t>{2, 0, 1, 3, 4}));
}

TEST_F(Outlook, AWindowOfAWidePlanIsEnoughToBegin) {
  std::vector<TaskSpec> tasks;
  for (size_t i = 0; i < 200; ++i) tasks.push_back(Makes(300, Reads({})));
  for (size_t i = 0; i < 200; ++i) tasks.push_back(Makes(1, Reads({i})));
  const std::vector<size_t> order = OrderOf(tasks);
  ASSERT_EQ(order.size(), tasks.size());
  for (size_t i = 0; i < order.size(); i += 2) EXPECT_EQ(order[i] + 200, order[i + 1]);
}

}  // namespace
}  // namespace zerrow::resource
