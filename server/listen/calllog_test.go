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
