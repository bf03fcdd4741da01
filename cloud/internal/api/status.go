package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"wardline/cloud/internal/access"
)

// Status is how the cloud is, and what gave way at a bound. Counters count from
// the start of the process.
type Status struct {
	At       int64          `json:"at" doc:"When all of this was so"`
	Version  string         `json:"version" doc:"Of the program"`
	Since    int64          `json:"since" doc:"When the process began"`
	Gateways StatusGateways `json:"gateways"`
	Link     StatusLink     `json:"link"`
	Screens  int            `json:"screens" doc:"Live sockets that are open"`
	Dropped  uint64         `json:"live_dropped" doc:"Live values and pieces of waveforms that were dropped: a bound was reached, or a screen did not keep up"`
	Odd      int            `json:"odd_records" doc:"Records that are kept raw, of any age"`
	FeedRows uint64         `json:"feed_rows" doc:"Changes that a screen's cursor may be behind"`
	Database int64          `json:"database_bytes"`
	Log      int64          `json:"log_bytes" doc:"Of the write-ahead log beside the database"`
}

// StatusGateways counts gateways.
type StatusGateways struct {
	Connected int `json:"connected"`
	Known     int `json:"known" doc:"That are enrolled and not revoked"`
}

// StatusLink counts what came from gateways.
type StatusLink struct {
	Sessions   uint64 `json:"sessions" doc:"That were welcomed"`
	Records    uint64 `json:"records" doc:"That were taken and are durable"`
	Batches    uint64 `json:"batches"`
	Late       uint64 `json:"late" doc:"Records of batches that were marked late"`
	Repeats    uint64 `json:"repeats" doc:"Batches that brought nothing new"`
	Gaps       uint64 `json:"gaps" doc:"Sessions that were ended because records were missing"`
	Odd        uint64 `json:"odd" doc:"Records that could not be read and were kept raw"`
	Duplicates uint64 `json:"duplicates" doc:"Sessions that were refused because another gateway shows the same identity"`
}

func (s *Server) status() {
	operation(s, huma.Operation{OperationID: "status", Method: http.MethodGet, Path: "/api/v1/status",
		Summary: "How the cloud is, and what gave way at a bound"}, access.StatusRead,
		func(ctx context.Context, _ caller, _ *struct{}) (*body[Status], error) {
			out, err := s.c.Status(ctx)
			return &body[Status]{out}, err
		})
}

// Screens is how many live sockets are open.
func (s *Server) Screens() int {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	return s.live.count
}
