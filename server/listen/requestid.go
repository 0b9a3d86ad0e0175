package listen

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"regexp"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// requestIDHeader carries the id of a call: from a caller that sets one, and in every response.
const requestIDHeader = "x-request-id"

// acceptedID matches ids of callers that are safe to log.
var acceptedID = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,64}$`)

// requestID returns the caller's id of a call, or a new one, and sends it in the response header.
func requestID(ctx context.Context) string {
	var id string
	if given := metadata.ValueFromIncomingContext(ctx, requestIDHeader); len(given) > 0 && acceptedID.MatchString(given[0]) {
		id = given[0]
	} else {
		var random [8]byte
		_, _ = rand.Read(random[:]) // It never fails.
		id = hex.EncodeToString(random[:])
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(requestIDHeader, id)) // It fails only after the response was sent.
	return id
}

// ids returns the fields that identify a call in the caller's log and in traces.
func ids(ctx context.Context) []zap.Field {
	fields := []zap.Field{zap.String("request", requestID(ctx))}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		fields = append(fields, zap.Stringer("trace", span.TraceID()))
	}
	return fields
}
