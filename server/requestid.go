package server

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

// requestIDHeader is how a caller gives a call an id of its own, and how it is told the one that was made for it.
const requestIDHeader = "x-request-id"

// harmlessID is what may be taken over from a caller into the log.
var harmlessID = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,64}$`)

// requestID is the caller's id of a call, or a new one. The caller is told.
func requestID(ctx context.Context) string {
	id := ""
	if given := metadata.ValueFromIncomingContext(ctx, requestIDHeader); len(given) > 0 && harmlessID.MatchString(given[0]) {
		id = given[0]
	} else {
		var random [8]byte
		_, _ = rand.Read(random[:]) // It never fails.
		id = hex.EncodeToString(random[:])
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(requestIDHeader, id)) // Only a call that was answered already refuses it.
	return id
}

// ids are what a line of the log has in common with the caller's own log and with traces.
func ids(ctx context.Context) []zap.Field {
	fields := []zap.Field{zap.String("request", requestID(ctx))}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		fields = append(fields, zap.Stringer("trace", span.TraceID()))
	}
	return fields
}
