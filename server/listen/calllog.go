package listen

import (
	"context"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// logCalls writes one line per call: its ids, its method, the names of its subject, its code and its duration. Requests and
// responses are never logged, because they hold user data and credentials.
func logCalls(log *zap.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		begin, known := time.Now(), ids(ctx)
		resp, err := handle(ctx, req)
		code := status.Code(err)
		if line := log.Check(levelOf(info.FullMethod, code), "call"); line != nil {
			fields := slices.Concat(known, subjectFields(req))
			fields = append(fields, zap.String("method", path.Base(info.FullMethod)), zap.Stringer("code", code), zap.Duration("took", time.Since(begin)))
			if err != nil {
				fields = append(fields, zap.String("error", status.Convert(err).Message()))
			}
			line.Write(fields...)
		}
		return resp, err
	}
}

// levelOf returns debug for polls, which the manager sends every few seconds for every VM, and warn for codes that count
// towards its circuit breaker. While the NAS is unavailable every poll fails; the client logs the outage once.
func levelOf(method string, code codes.Code) zapcore.Level {
	switch code {
	case codes.Internal, codes.Unknown:
		return zapcore.WarnLevel
	}
	switch {
	case polled(method):
		return zapcore.DebugLevel
	case code == codes.Unavailable || code == codes.DeadlineExceeded:
		return zapcore.WarnLevel
	}
	return zapcore.InfoLevel
}

// polled reports whether the manager calls a method every few seconds, for every VM.
func polled(method string) bool {
	switch method {
	case providerv1.Provider_Validate_FullMethodName, providerv1.Provider_Describe_FullMethodName,
		providerv1.Provider_TaskStatus_FullMethodName, providerv1.Provider_GetCapabilities_FullMethodName,
		providerv1.Provider_ListVMs_FullMethodName, "/grpc.health.v1.Health/Check":
		return true
	}
	return false
}

// subjectFields returns the ids and names in a request: of a VM, a task, an image, a snapshot.
func subjectFields(req any) []zap.Field {
	var fields []zap.Field
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, zap.String(key, value))
		}
	}
	if r, ok := req.(interface{ GetId() string }); ok {
		add("vm", r.GetId())
	}
	if r, ok := req.(interface{ GetVmId() string }); ok {
		add("vm", r.GetVmId())
	}
	if r, ok := req.(interface{ GetSourceVmId() string }); ok {
		add("vm", r.GetSourceVmId())
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		add("name", r.GetName())
	}
	if r, ok := req.(interface{ GetTargetName() string }); ok {
		add("name", r.GetTargetName())
	}
	if r, ok := req.(interface{ GetSnapshotId() string }); ok {
		add("snapshot", r.GetSnapshotId())
	}
	if r, ok := req.(interface{ GetOp() providerv1.PowerOp }); ok {
		add("op", r.GetOp().String())
	}
	if r, ok := req.(interface{ GetTask() *providerv1.TaskRef }); ok {
		add("task", r.GetTask().GetId())
	}
	return fields
}
