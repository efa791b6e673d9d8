#include "engine/publish_output.h"

#include <arrow/builder.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "engine/result_table.h"
#include "shm/test_worker.h"
#include "sipc/format.h"
#include "sipc/writer.h"

namespace zerrow::engine {
namespace {

constexpr int64_t kRows = 100'000;
constexpr int64_t kBytes = kRows * 8;

using ResultPtr = std::shared_ptr<const ResultTable>;

// As backends publish, and as the engine then hands the table to a user. Without memory: a backend
// that copies.
arrow::Result<ResultPtr> PublishOutput(OutputAnswer output, const std::vector<ResultPtr>& inputs,
                                       std::vector<shm::GrantedChunk> chunks, SegmentId own,
                                       shm::SharedMemory* memory) {
  static const base::TaskThread reaper;
  static shm::SegmentIds ids_of_copies;
  Granted granted;
  for (const ResultPtr& input : inputs) {
    for (const auto& held : input->table().AllSegments()) {
      ARROW_ASSIGN_OR_RAISE(granted.inputs[held.id], input->Find(held.id));
    }
  }
  Segments known = granted.inputs;
  granted.chunks = std::move(chunks);
  granted.moved = own;
  ARROW_ASSIGN_OR_RAISE(
      Publication publication,
      memory == nullptr || output.format == PublishedTable::Format::kArrowFile
          ? PublishFile(std::move(output), memory ? memory->ids() : ids_of_copies, reaper)
          : PublishReferences(std::move(output), std::move(granted), memory->ids(), reaper,
                              *memory));
  for (auto& segment : publication.segments) known.emplace(segment->id(), std::move(segment));
  ResultTable::Segments needed;
  for (const auto& segment : publication.table->AllSegments()) {
    needed.emplace(segment.id, ResultTable::Held{known.at(segment.id), nullptr});
  }
  return std::make_shared<const ResultTable>(publication.table, std::move(needed), nullptr);
}

const shm::Segment& FirstSegment(const ResultTable& table) {
  return **table.Find(table.table().segments.at(0).id);
}

// A worker in this process: its memory comes from the broker, as the shim's does.
class Worker {
 public:
  Worker(shm::SharedMemory& memory, uint64_t id)
      : memory_(memory), id_(id), shm_(memory.broker().AddWorker(id).ValueOrDie()) {
    area_ = shm_.Grant(4 << 20);
    addresses_.Add(area_->id, area_->data(), area_->mapping.size());
  }

  /// A table of one int64 column that lies `offset` bytes into the worker's chunk.
  std::shared_ptr<arrow::Table> MakeTable(int64_t offset, int64_t first) {
    auto* values = reinterpret_cast<int64_t*>(area_->data() + offset);
    for (int64_t i = 0; i < kRows; ++i) values[i] = first + i;
    auto buffer = std::make_shared<arrow::Buffer>(area_->data() + offset, kBytes);
    auto data = arrow::ArrayData::Make(arrow::int64(), kRows, {nullptr, buffer}, 0);
    return arrow::Table::Make(arrow::schema({arrow::field("x", arrow::int64())}),
                              {arrow::MakeArray(data)});
  }

  OutputAnswer Encode(const arrow::Table& table) {
    auto file = sipc::EncodeToMemfd("test", table, addresses_).ValueOrDie();
    OutputAnswer output;
    output.message = std::move(file.fd);
    output.rows = 42;  // lies: the message says better
    output.bytes.content_reshared_bytes = INT64_MAX;
    output.content_hash = "f00d";
    return output;
  }

  sipc::AddressMap& addresses() { return addresses_; }
  SegmentId chunk() const { return area_->id; }

  /// The worker dies; what it held is the engine's.
  std::vector<shm::GrantedChunk> Die() {
    shm_.Release(area_->id);
    EXPECT_TRUE(shm::Eventually([this] { return memory_.broker().BackedBytes(id_) == 0; }));
    return memory_.broker().TakeWorker(id_);
  }
  std::vector<shm::GrantedChunk> DieWithoutRelease() {
    { const shm::TestWorker gone = std::move(shm_); }
    return memory_.broker().TakeWorker(id_);
  }

 private:
  shm::SharedMemory& memory_;
  uint64_t id_;
  shm::TestWorker shm_;
  shm::TestWorker::Area* area_ = nullptr;
  sipc::AddressMap addresses_;
};

class PublishOutputTest : public ::testing::Test {
 protected:
  ResultPtr Published(uint64_t worker_id, int64_t first) {
    Worker worker(*memory_, worker_id);
    OutputAnswer output = worker.Encode(*worker.MakeTable(4096, first));
    return PublishOutput(std::move(output), {}, worker.DieWithoutRelease(), 0, memory_.get())
        .ValueOrDie();
  }

  std::shared_ptr<shm::SharedMemory> memory_ = shm::SharedMemory::Make().ValueOrDie();
};

int64_t First(const arrow::Table& table) {
  return static_cast<const arrow::Int64Array&>(*table.column(0)->chunk(0)).Value(0);
}

TEST_F(PublishOutputTest, TakesTheNumbersFromTheMessage) {
  const ResultPtr table = Published(1, 7);
  EXPECT_EQ(table->table().rows, kRows);
  EXPECT_EQ(table->table().content_hash, "f00d");
  EXPECT_EQ(table->table().bytes.new_bytes, kBytes);
  EXPECT_EQ(table->table().bytes.reshared_bytes, 0);
  EXPECT_EQ(table->table().bytes.content_reshared_bytes, 0);
  EXPECT_EQ(table->table().bytes.copied_bytes, 0);
  EXPECT_EQ(table->table().bytes.total(), kBytes);
  ASSERT_EQ(table->table().segments.size(), 1u);
  EXPECT_EQ(table->table().segments[0].used, (std::vector<ByteRange>{{4096, kBytes}}));
  // What surrounds the column was taken out.
  EXPECT_LE(FirstSegment(*table).backed_bytes(), kBytes + 2 * 2 * 1024 * 1024);
}

TEST_F(PublishOutputTest, NoMoreBytesAreDuplicateThanTheWorkerHasStored) {
  const auto duplicate = [this](std::optional<int64_t> claimed) {
    Worker worker(*memory_, 1);
    OutputAnswer output = worker.Encode(*worker.MakeTable(4096, 7));
    output.bytes.duplicate_bytes = claimed;
    return PublishOutput(std::move(output), {}, worker.DieWithoutRelease(), 0, memory_.get())
        .ValueOrDie()
        ->table()
        .bytes.duplicate_bytes;
  };
  EXPECT_EQ(duplicate(std::nullopt), std::nullopt);
  EXPECT_EQ(duplicate(0), 0);
  EXPECT_EQ(duplicate(100), 100);
  EXPECT_EQ(duplicate(INT64_MAX), kBytes);
}

TEST_F(PublishOutputTest, OpensAndOutlivesTheEngine) {
  ResultPtr table = Published(1, 7);
  const auto opened = OpenTable(table).ValueOrDie();
  table.reset();
  memory_.reset();
  EXPECT_EQ(opened->num_rows(), kRows);
  EXPECT_EQ(First(*opened), 7);
}

TEST_F(PublishOutputTest, ReshareIsALeaseOnTheInputsSegment) {
  ResultPtr input = Published(1, 7);
  const auto opened = OpenTable(input).ValueOrDie();
  Worker worker(*memory_, 2);
  const auto& buffer = opened->column(0)->chunk(0)->data()->buffers[1];
  const SegmentId segment = input->table().segments[0].id;
  // The worker's mapping of the segment: the column lies 4096 bytes into it.
  worker.addresses().Add(segment, buffer->data() - 4096, FirstSegment(*input).size_bytes());
  OutputAnswer output = worker.Encode(*opened);
  const ResultPtr table =
      PublishOutput(std::move(output), {input}, worker.DieWithoutRelease(), 0, memory_.get())
          .ValueOrDie();
  EXPECT_EQ(table->table().bytes.new_bytes, 0);
  EXPECT_EQ(table->table().bytes.reshared_bytes, kBytes);
  ASSERT_EQ(table->table().segments.size(), 1u);
  EXPECT_EQ(table->table().segments[0].id, segment);
  const std::weak_ptr<const ResultTable> watched = input;
  input.reset();
  EXPECT_TRUE(watched.expired() || opened);
  EXPECT_EQ(First(*OpenTable(table).ValueOrDie()), 7);
}

TEST_F(PublishOutputTest, RefusesSegmentsThatWerentGranted) {
  const ResultPtr foreign = Published(1, 7);
  const auto opened = OpenTable(foreign).ValueOrDie();
  Worker worker(*memory_, 2);
  const auto& buffer = opened->column(0)->chunk(0)->data()->buffers[1];
  worker.addresses().Add(foreign->table().segments[0].id, buffer->data() - 4096,
                         FirstSegment(*foreign).size_bytes());
  OutputAnswer output = worker.Encode(*opened);
  // `foreign` exists, but wasn't an input of this worker.
  const auto status =
      PublishOutput(std::move(output), {}, worker.DieWithoutRelease(), 0, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status.ToString();
}

TEST_F(PublishOutputTest, RefusesChunksThatWereGivenBack) {
  Worker worker(*memory_, 1);
  OutputAnswer output = worker.Encode(*worker.MakeTable(0, 1));
  const auto status = PublishOutput(std::move(output), {}, worker.Die(), 0, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status.ToString();
}

TEST_F(PublishOutputTest, RefusesMessagesThatCanChange) {
  Worker worker(*memory_, 1);
  const auto table = worker.MakeTable(0, 1);
  const auto encoded = sipc::Encode(*table, worker.addresses()).ValueOrDie();
  OutputAnswer output;
  output.message = base::MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(base::WriteAll(output.message.get(), encoded.message->ToString()).ok());
  const auto status =
      PublishOutput(std::move(output), {}, worker.DieWithoutRelease(), 0, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status.ToString();
}

TEST_F(PublishOutputTest, RefusesOutputsThatSomebodyCanStillWrite) {
  Worker worker(*memory_, 1);
  OutputAnswer output = worker.Encode(*worker.MakeTable(4096, 1));
  // The engine believes that the worker is dead, but it still maps its chunk.
  auto chunks = memory_->broker().TakeWorker(1);
  const auto status =
      PublishOutput(std::move(output), {}, std::move(chunks), 0, memory_.get()).status();
  EXPECT_TRUE(status.IsIOError()) << status.ToString();
}

TEST_F(PublishOutputTest, RefusesGarbage) {
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(4096, '\xff')}) {
    OutputAnswer output;
    output.message = base::MakeSealedMemfd("test", bytes).ValueOrDie();
    EXPECT_FALSE(PublishOutput(std::move(output), {}, {}, 0, memory_.get()).ok());
  }
  OutputAnswer output;
  output.message = base::UniqueFd(::dup(0));
  EXPECT_FALSE(PublishOutput(std::move(output), {}, {}, 0, memory_.get()).ok());
}

TEST_F(PublishOutputTest, TablesThatWouldCrashTheirReaderArentOpened) {
  const std::vector<int32_t> offsets = {0, 1 << 30, 4};
  const std::string text = "abcd";
  const auto bytes = [](const auto& values) {
    return std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(values.data()),
                                           values.size() * sizeof(values[0]));
  };
  const auto array = arrow::MakeArray(
      arrow::ArrayData::Make(arrow::utf8(), 2, {nullptr, bytes(offsets), bytes(text)}, 0));
  const auto table = arrow::Table::Make(arrow::schema({arrow::field("s", arrow::utf8())}), {array});
  ASSERT_TRUE(table->Validate().ok());
  OutputAnswer output;
  output.message = std::move(sipc::EncodeToMemfd("test", *table, {}).ValueOrDie().fd);
  const ResultPtr published =
      PublishOutput(std::move(output), {}, {}, 0, memory_.get()).ValueOrDie();
  EXPECT_TRUE(OpenTable(published).status().IsInvalid());
}

// A message that is its header and then a hole, in which `count` records of a section are zeros.
base::UniqueFd SparseMessage(sipc::SectionId section, uint64_t count) {
  sipc::HeaderRecord header{};
  std::memcpy(header.magic, sipc::kMagic, sizeof(header.magic));
  header.version = sipc::kVersion;
  header.header_bytes = sizeof(header);
  uint64_t end = sizeof(header);
  for (int i = 0; i < sipc::kNumSections; ++i) {
    header.sections[i] = {(end + 63) / 64 * 64, i == section ? count : 0};
    end = header.sections[i].offset + header.sections[i].count * sipc::kRecordBytes[i];
  }
  header.message_bytes = end;
  auto file = base::MakeMemfd("sparse", static_cast<int64_t>(end)).ValueOrDie();
  const std::string_view bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  EXPECT_TRUE(base::WriteAll(file.get(), bytes).ok());
  EXPECT_TRUE(base::SealMemfd(file.get()).ok());
  return file;
}

TEST_F(PublishOutputTest, AHoleIsRefusedAndNotRead) {
  for (int section = 0; section < sipc::kNumSections; ++section) {
    const auto id = static_cast<sipc::SectionId>(section);
    for (const uint64_t bytes : {uint64_t{1} << 20, uint64_t{960} << 20, uint64_t{1} << 40}) {
      auto file = SparseMessage(id, bytes / sipc::kRecordBytes[section]);
      const auto watched = base::Duplicate(file.get()).ValueOrDie();
      for (const auto format :
           {PublishedTable::Format::kSipc, PublishedTable::Format::kArrowFile}) {
        OutputAnswer output;
        output.format = format;
        output.message = base::Duplicate(file.get()).ValueOrDie();
        const auto status = PublishOutput(std::move(output), {}, {}, 0, memory_.get()).status();
        EXPECT_TRUE(status.IsSerializationError()) << status;
      }
      struct stat info;
      ASSERT_EQ(::fstat(watched.get(), &info), 0);
      EXPECT_LE(info.st_blocks * 512, 2 << 20) << "reading it has allocated pages";
    }
  }
}

// As the kernelzero backend does it: the worker's own file is a segment.
class PublishMovedTest : public PublishOutputTest {
 protected:
  static constexpr SegmentId kOwn = 77;

  OutputAnswer Output(base::UniqueFd file) {
    std::vector<int64_t> values(kRows, 5);
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
    sipc::AddressMap addresses;
    addresses.Add(kOwn, bytes, kBytes);
    auto data = arrow::ArrayData::Make(
        arrow::int64(), kRows, {nullptr, std::make_shared<arrow::Buffer>(bytes, kBytes)}, 0);
    const auto table = arrow::Table::Make(arrow::schema({arrow::field("x", arrow::int64())}),
                                          {arrow::MakeArray(data)});
    OutputAnswer output;
    output.message = std::move(sipc::EncodeToMemfd("test", *table, addresses).ValueOrDie().fd);
    output.moved = std::move(file);
    return output;
  }

  static std::string Fives() {
    const std::vector<int64_t> values(kRows, 5);
    return {reinterpret_cast<const char*>(values.data()), static_cast<size_t>(kBytes)};
  }
};

TEST_F(PublishMovedTest, TheWorkersFileIsASegment) {
  OutputAnswer output = Output(base::MakeSealedMemfd("moved", Fives()).ValueOrDie());
  output.bytes.copied_bytes = 100;  // of its pages
  const ResultPtr table =
      PublishOutput(std::move(output), {}, {}, kOwn, memory_.get()).ValueOrDie();
  ASSERT_EQ(table->table().segments.size(), 1u);
  EXPECT_EQ(table->table().segments[0].id, kOwn);
  EXPECT_EQ(table->table().bytes.copied_bytes, 100);
  EXPECT_EQ(table->table().bytes.new_bytes + table->table().bytes.copied_bytes,
            table->table().bytes.total());
  EXPECT_NEAR(static_cast<double>(table->table().bytes.total()), kBytes, 64)
      << "but for the message's padding";
  EXPECT_EQ(First(*OpenTable(table).ValueOrDie()), 5);
}

TEST_F(PublishMovedTest, AFileThatCanChangeOrIsTooShortIsRefused) {
  auto writable = base::MakeMemfd("moved", kBytes).ValueOrDie();
  auto status = PublishOutput(Output(std::move(writable)), {}, {}, kOwn, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status;
  auto sparse = base::MakeMemfd("moved", kBytes).ValueOrDie();
  ASSERT_TRUE(base::SealMemfd(sparse.get()).ok());
  status = PublishOutput(Output(std::move(sparse)), {}, {}, kOwn, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status;
  auto brief = base::MakeSealedMemfd("moved", Fives().substr(1)).ValueOrDie();
  status = PublishOutput(Output(std::move(brief)), {}, {}, kOwn, memory_.get()).status();
  EXPECT_TRUE(status.IsSerializationError()) << status;
}

// As KernelZero makes them before huge pages: most of it is there. Nobody reads the holes.
TEST_F(PublishMovedTest, AFileMayHaveHolesBeforeHugePages) {
  constexpr int64_t kHuge = 2 << 20;
  const auto with_hole = [](int64_t data_bytes, int64_t hole_bytes) {
    auto file = base::MakeMemfd("moved", 0).ValueOrDie();
    std::string data = Fives();
    data.resize(static_cast<size_t>(data_bytes));
    EXPECT_TRUE(base::WriteAll(file.get(), data).ok());
    EXPECT_EQ(::ftruncate(file.get(), data_bytes + hole_bytes), 0);
    EXPECT_TRUE(base::SealMemfd(file.get()).ok());
    return file;
  };
  const auto publish = [this](base::UniqueFd file) {
    return PublishOutput(Output(std::move(file)), {}, {}, kOwn, memory_.get()).status();
  };
  EXPECT_EQ(publish(with_hole(2 * kHuge, 2 * kHuge)), arrow::Status::OK());
  EXPECT_TRUE(publish(with_hole(2 * kHuge, 4 * kHuge)).IsSerializationError());
  EXPECT_TRUE(publish(with_hole(kHuge / 2, kHuge / 4)).IsSerializationError());
}

TEST_F(PublishMovedTest, AFileThatNobodyAskedForIsRefused) {
  for (const SegmentId asked : {SegmentId{0}, kOwn + 1}) {
    auto file = base::MakeSealedMemfd("moved", Fives()).ValueOrDie();
    const auto status =
        PublishOutput(Output(std::move(file)), {}, {}, asked, memory_.get()).status();
    EXPECT_TRUE(status.IsSerializationError()) << status;
  }
}

TEST(PublishFile, SealsTheMessageOfTheCopyBackends) {
  OutputAnswer output;
  output.format = PublishedTable::Format::kArrowFile;
  output.message = base::MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(base::WriteAll(output.message.get(), "not really Arrow").ok());
  output.rows = 3;
  output.bytes.duplicate_bytes = output.bytes.copied_bytes = INT64_MAX;  // lies: the file has 16
  const ResultPtr table = PublishOutput(std::move(output), {}, {}, 0, nullptr).ValueOrDie();
  const auto message = (*table->Find(table->table().message.id))->Open().ValueOrDie();
  EXPECT_TRUE(base::IsSealed(message.get()));
  EXPECT_EQ(table->table().bytes.copied_bytes, 16);
  EXPECT_EQ(table->table().bytes.duplicate_bytes, 16);
  EXPECT_FALSE(OpenTable(table).ok());
}

}  // namespace
}  // namespace zerrow::engine
