// The task that a worker is given: a JSON message and the descriptors that go with it.
//
// Pure but for descriptors: those of messages are borrowed, so that a task must be sent while the
// tables that it was made from are held; those of segments are opened for it.
// docs/formats/worker_protocol.md says what is in it. Any thread.
#pragma once

#include <arrow/result.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/plan.h"
#include "engine/published_table.h"
#include "zerrow/reference.h"
#include "zerrow/run.h"

namespace zerrow::engine {

struct TaskMessage {
  nlohmann::json body;
  std::vector<int> fds;                // in the order that the body refers to
  std::vector<base::UniqueFd> opened;  // those that are the message's own
  std::map<SegmentId, int> segments;   // where a segment's descriptor stands in `fds`
};

class TaskMessages {
 public:
  /// Both outlive this. `backend` isn't kAuto.
  TaskMessages(const RunOptions& options, const Plan& plan, std::string project_dir,
               BackendKind backend)
      : options_(options), plan_(plan), project_dir_(std::move(project_dir)), backend_(backend) {}

  TaskMessage Discover() const;
  /// `inputs`: the table of each of the node's inputs, in their order.
  /// IOError, as of what follows: a segment can't be opened.
  arrow::Result<TaskMessage> Node(const PlanNode& node,
                                  const std::vector<const PublishedTable*>& inputs) const;
  arrow::Result<TaskMessage> Preview(const PlanNode& node, const PublishedTable& table,
                                     int64_t rows) const;
  arrow::Result<TaskMessage> Export(const PlanNode& node, const PublishedTable& table,
                                    const std::string& path) const;

 private:
  TaskMessage Empty(std::string_view kind) const;
  nlohmann::json ParameterValues(const ModelDescription& model) const;
  arrow::Status AddInput(TaskMessage& task, const std::string& parameter, const PlanNode& producer,
                         const PlanInput& input, const PublishedTable& table) const;

  const RunOptions& options_;
  const Plan& plan_;
  const std::string project_dir_;
  const BackendKind backend_;
};

}  // namespace zerrow::engine
