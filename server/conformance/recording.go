package conformance

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

//go:embed testdata/recorded.jsonl
var testdata embed.FS

// recorded is one request of the manager, and how long it waited for the response.
type recorded struct {
	Method   string          `json:"method"`
	Deadline string          `json:"deadline"`
	Request  json.RawMessage `json:"request"`
}

// Values in the responses of the recorded provider, which later requests contain. The order of the requests assigns each id to its
// VM.
const (
	recordedImage = "/var/lib/virtrigaud/mock/img1.qcow2"
	recordedSnap  = "snap-1795262151-8585"
)

var recordedVMs = map[string]string{
	"vm-1795262071-4323": "demo1",
	"vm-1795262106-4487": "vm2",
	"vm-1795262121-1351": "vmhttp",
	"vm-1795262151-5964": "vm2c",
}

// recording reads the requests, in order.
func recording() ([]recorded, error) {
	text, err := testdata.ReadFile("testdata/recorded.jsonl")
	if err != nil {
		return nil, err
	}
	var list []recorded
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("recorded request %d: %w", len(list)+1, err)
		}
		if want, err := time.ParseDuration(r.Deadline); err != nil || want != deadline(r.message()) {
			return nil, fmt.Errorf("recorded request %d: the manager waited %s for %s, and this package waits %v", len(list)+1, r.Deadline, r.Method, deadline(r.message()))
		}
		list = append(list, r)
	}
	return list, nil
}

// message returns an empty request of the method.
func (r recorded) message() proto.Message {
	switch r.Method {
	case "Validate":
		return &providerv1.ValidateRequest{}
	case "GetCapabilities":
		return &providerv1.GetCapabilitiesRequest{}
	case "ImagePrepare":
		return &providerv1.ImagePrepareRequest{}
	case "TaskStatus":
		return &providerv1.TaskStatusRequest{}
	case "Create":
		return &providerv1.CreateRequest{}
	case "Describe":
		return &providerv1.DescribeRequest{}
	case "Power":
		return &providerv1.PowerRequest{}
	case "Delete":
		return &providerv1.DeleteRequest{}
	case "SnapshotCreate":
		return &providerv1.SnapshotCreateRequest{}
	case "SnapshotDelete":
		return &providerv1.SnapshotDeleteRequest{}
	case "Clone":
		return &providerv1.CloneRequest{}
	case "Reconfigure":
		return &providerv1.ReconfigureRequest{}
	case "ListVMs":
		return &providerv1.ListVMsRequest{}
	}
	return nil
}

// request returns a recorded request, with the ids, names and places of this run.
func (r recorded) request(p *player) (proto.Message, error) {
	text := string(r.Request)
	for id, name := range recordedVMs {
		text = strings.ReplaceAll(text, `"`+id+`"`, `"`+p.id(name)+`"`)
	}
	text = strings.ReplaceAll(text, `"`+recordedSnap+`"`, `"`+p.snapshot+`"`)
	msg := r.message()
	if err := protojson.Unmarshal([]byte(text), msg); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Method, err)
	}
	switch req := msg.(type) {
	case *providerv1.CreateRequest:
		return msg, p.adapt(req)
	case *providerv1.ImagePrepareRequest:
		return msg, p.adaptSource(req)
	case *providerv1.CloneRequest:
		return msg, p.adaptClone(req)
	case *providerv1.ReconfigureRequest:
		req.DesiredJson = strings.ReplaceAll(req.GetDesiredJson(), recordedImage, p.image)
	}
	return msg, nil
}
