package listen

import (
	"testing"

	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func TestLevels(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		code         codes.Code
		want         zapcore.Level
	}{
		{"a change that went well", providerv1.Provider_Create_FullMethodName, codes.OK, zapcore.InfoLevel},
		{"a change that was refused", providerv1.Provider_Create_FullMethodName, codes.InvalidArgument, zapcore.InfoLevel},
		{"a change that opens the circuit breaker", providerv1.Provider_Create_FullMethodName, codes.Unavailable, zapcore.WarnLevel},
		{"a poll", providerv1.Provider_Describe_FullMethodName, codes.OK, zapcore.DebugLevel},
		{"a poll while the NAS is away", providerv1.Provider_Describe_FullMethodName, codes.Unavailable, zapcore.DebugLevel},
		{"a poll that is too slow", providerv1.Provider_Validate_FullMethodName, codes.DeadlineExceeded, zapcore.DebugLevel},
		{"a fault of the program's own in a poll", providerv1.Provider_TaskStatus_FullMethodName, codes.Internal, zapcore.WarnLevel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := levelOf(tt.method, tt.code); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// The log and the journal name the subject of each kind of request.
func TestSubjects(t *testing.T) {
	for _, tt := range []struct {
		req     any
		log     string
		journal string
	}{
		{&providerv1.DescribeRequest{Id: "v"}, "vm=v", "v"},
		{&providerv1.PowerRequest{Id: "v", Op: providerv1.PowerOp_POWER_OP_ON}, "op=POWER_OP_ON vm=v", "v"},
		{&providerv1.CreateRequest{Name: "web"}, "name=web", "web"},
		{&providerv1.SnapshotDeleteRequest{VmId: "v", SnapshotId: "s"}, "snapshot=s vm=v", "s"},
		{&providerv1.CloneRequest{SourceVmId: "v", TargetName: "copy"}, "name=copy vm=v", "copy"},
		{&providerv1.TaskStatusRequest{Task: &providerv1.TaskRef{Id: "t"}}, "task=t", "t"},
		{&providerv1.TaskStatusRequest{}, "", ""},
		{&providerv1.ValidateRequest{}, "", ""},
		{nil, "", ""},
	} {
		fields := zapcore.NewMapObjectEncoder()
		for _, f := range subjectFields(tt.req) {
			f.AddTo(fields)
		}
		if got := mapText(fields.Fields); got != tt.log {
			t.Errorf("%T: the log has %q, want %q", tt.req, got, tt.log)
		}
		if got := subject(tt.req); got != tt.journal {
			t.Errorf("%T: the journal has %q, want %q", tt.req, got, tt.journal)
		}
	}
}
