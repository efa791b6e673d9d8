// The dictionaries of a source: which values a worker may extend, and whether it has.
#include <arrow/array.h>
#include <arrow/table.h>
#include <arrow/type_traits.h>

#include <algorithm>
#include <utility>

#include "base/mapping.h"
#include "engine/scan.h"
#include "engine/task_message.h"
#include "sipc/reader.h"

namespace zerrow::engine {

using arrow::Status;

namespace {

// A later version is written whole. Beyond this a column may rather have one more dictionary.
constexpr int64_t kMostExtendedBytes = 256 << 20;

// What workers have sent of a column, of whose contents nobody has looked at anything yet.
class SentValues {
 public:
  static arrow::Result<SentValues> Open(const shm::Segment& segment) {
    SentValues values;
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd file, segment.Open());
    ARROW_ASSIGN_OR_RAISE(values.mapping_, base::Mapping::Map(file.get(), segment.size_bytes(),
                                                              base::Mapping::Access::kReadOnly));
    const auto message =
        std::make_shared<arrow::Buffer>(values.mapping_.data(), values.mapping_.size());
    ARROW_ASSIGN_OR_RAISE(const auto reader, sipc::Reader::Open(message, nullptr));
    ARROW_ASSIGN_OR_RAISE(const auto column, reader->ReadColumn(0));
    if (column->num_chunks() != 1) return Status::SerializationError("not one array");
    values.array_ = column->chunk(0);
    return values;
  }

  bool BeginWith(const SentValues& others) const {
    const arrow::Array& first = *others.array_;
    return array_->type()->Equals(first.type()) && array_->length() >= first.length() &&
           array_->null_count() == 0 && IsSound(*array_) && IsSound(first) &&
           array_->RangeEquals(first, 0, first.length(), 0);
  }

 private:
  // As bytes: files may have texts that aren't UTF-8.
  static bool IsSound(const arrow::Array& array) {
    if (!arrow::is_base_binary_like(array.type_id())) return false;
    const bool large = arrow::is_large_binary_like(array.type_id());
    const auto bytes = array.View(large ? arrow::large_binary() : arrow::binary());
    return bytes.ok() && (*bytes)->ValidateFull().ok();
  }

  base::Mapping mapping_;
  std::shared_ptr<arrow::Array> array_;
};

}  // namespace

// Of a column's dictionaries the one that most of its rows have. None if nothing of the column can
// be missing.
void Scan::FindBases() {
  bases_.clear();
  size_t blocks = 0;
  for (const decache::Footer& footer : footers_) blocks += footer.blocks.size();
  const bool all_known =
      std::ranges::all_of(footers_, [](const auto& footer) { return footer.schema != nullptr; });
  std::map<std::string, size_t> had;
  std::map<std::pair<std::string, decache::EntryKey>, int64_t> rows;
  for (const auto& [key, piece] : had_) {
    if (!piece.values_key) continue;
    const std::string& column = std::get<Column>(key).name;
    ++had[column];
    if (piece.values->segment->size_bytes() > kMostExtendedBytes) continue;
    int64_t& own = rows[{column, *piece.values_key}];
    own += piece.column->rows();
    Base& base = bases_[column];
    if (own >= base.rows) base = {piece.values, piece.values_key, own};
  }
  if (all_known) {
    std::erase_if(bases_, [&](const auto& base) { return had[base.first] == blocks; });
  }
}

Status Scan::DescribeBases(TaskMessage& task) const {
  for (const auto& [column, base] : bases_) {
    ARROW_ASSIGN_OR_RAISE(base::UniqueFd file, base.values->segment->Open());
    task.body["inputs"].push_back({{"parameter", column},
                                   {"model", source_.table},
                                   {"format", "sipc"},
                                   {"message", task.fds.size()},
                                   {"rows", base.values->column->rows()}});
    task.fds.push_back(file.get());
    task.opened.push_back(std::move(file));
  }
  return Status::OK();
}

// All indices that the worker sent of a column are into the values that it sent, or into those that
// it was given.
Status Scan::TakeValues() {
  for (const auto& [column, values] : decoded_values_) {
    if (bases_.contains(column)) ARROW_RETURN_NOT_OK(Extend(column, values));
  }
  for (auto& [key, piece] : decoded_) {
    const auto& [name, dictionary] = key.second;
    if (!dictionary) continue;
    const auto sent = decoded_values_.find(name);
    const auto base = bases_.find(name);
    if (sent != decoded_values_.end()) {
      piece.values = sent->second;
    } else if (base != bases_.end()) {
      piece.values = base->second.values;
    } else {
      return Status::SerializationError("its worker sent no values of column ", name);
    }
  }
  return Status::OK();
}

// Indices that others rely on must mean what they did.
Status Scan::Extend(const std::string& column, const std::shared_ptr<const Piece>& values) {
  const Base& base = bases_.at(column);
  ARROW_ASSIGN_OR_RAISE(const auto before, SentValues::Open(*base.values->segment));
  const auto after = SentValues::Open(*values->segment);
  if (!after.ok() || !after->BeginWith(before)) {
    return Status::SerializationError("its worker changed the values of column ", column);
  }
  for (auto& [key, piece] : had_) {
    if (std::get<Column>(key).name == column && piece.values_key &&
        *piece.values_key == *base.key) {
      piece.values = values;
    }
  }
  return Status::OK();
}

// The key of each column's values, under which the cache has their newest version for all entries
// that name it. Where it has another one than the worker has extended, or none any more, these
// begin a dictionary of their own: its key lies among those of the first file that is kept, and
// nobody else can have it.
std::map<std::string, Scan::ValuesKey> Scan::LearnValues(const decache::Cache& cache,
                                                         Learned& learned) const {
  std::map<std::string, ValuesKey> keys;
  std::map<std::string, double> decode_s;  // without the values all indices are of no use
  for (const auto& [key, piece] : decoded_) {
    if (!piece.values || !IsKept(key)) continue;
    const std::string& column = key.second.name;
    decode_s[column] += piece.decode_s;
    if (keys.contains(column)) continue;
    const auto base = bases_.find(column);
    const auto* known = base == bases_.end() ? nullptr : cache.Find(*base->second.key);
    std::optional<SegmentId> grown_from;
    ValuesKey& chosen = keys[column];
    if (known != nullptr && known->segment == base->second.values->segment->id()) {
      chosen = base->second.key;
      if (piece.values == base->second.values) continue;  // all were there
      grown_from = known->segment;
    } else {
      decache::EntryKey own = KeyOfPiece(key);
      own.options += " of " + std::to_string(piece.segment->id());
      chosen = std::make_shared<const decache::EntryKey>(std::move(own));
    }
    learned.entries.push_back(EntryOf(*chosen, *piece.values, 1));
    learned.entries.back().grown_from = grown_from;
  }
  for (Decoded& values : learned.entries) {
    values.entry.decode_s = std::exchange(decode_s[values.key.column], 0);
  }
  for (const auto& [column, more_s] : decode_s) {
    if (more_s > 0) learned.charged.emplace_back(*keys[column], more_s);
  }
  return keys;
}

}  // namespace zerrow::engine
