package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
)

// refused is an error that is the caller's to mend; it carries its own code.
func refused(code codes.Code, format string, args ...any) error {
	return &sdkerrors.ProviderError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalid says which field of a request is wrong and what is allowed there.
func invalid(field, format string, args ...any) error {
	return refused(codes.InvalidArgument, "%s: %s", field, fmt.Sprintf(format, args...))
}

// conflict says that the request is fine and the state of things forbids it.
func conflict(format string, args ...any) error {
	return refused(codes.FailedPrecondition, format, args...)
}

// taken says that the name belongs to somebody else.
func taken(format string, args ...any) error {
	return refused(codes.AlreadyExists, format, args...)
}

// aborted says that somebody else was at work on the same thing; asking again helps.
func aborted(format string, args ...any) error {
	return refused(codes.Aborted, format, args...)
}

// codeOf is what the caller is told, in the order the table is read.
//
// The manager counts Unavailable, DeadlineExceeded, Internal and Unknown towards its circuit
// breaker, which cuts off every VM of the provider, so those mean "the NAS is in trouble" and
// never "this request is wrong".
var codeOf = []struct {
	err  error
	code codes.Code
}{
	{context.DeadlineExceeded, codes.Unavailable}, // See [inTime]: there is time to say why.
	{context.Canceled, codes.Canceled},
	{truenas.ErrAuth, codes.PermissionDenied},
	{truenas.ErrPermission, codes.PermissionDenied},
	{truenas.ErrUncertain, codes.Unavailable},
	{truenas.ErrUnavailable, codes.Unavailable},
	{truenas.ErrCertificate, codes.Unavailable},
	{truenas.ErrUnsupported, codes.FailedPrecondition},
	{truenas.ErrHasClones, codes.FailedPrecondition},
	{truenas.ErrHeld, codes.FailedPrecondition},
	{truenas.ErrNotEmpty, codes.FailedPrecondition},
	{truenas.ErrNoSpace, codes.ResourceExhausted},
	{truenas.ErrNoMemory, codes.ResourceExhausted},
	{truenas.ErrNotFound, codes.NotFound},
	{truenas.ErrExists, codes.AlreadyExists},
	{truenas.ErrBusy, codes.Aborted},
	{truenas.ErrJobLost, codes.Aborted},
	{truenas.ErrAborted, codes.Aborted},
	{truenas.ErrInvalid, codes.InvalidArgument},
	{disk.ErrInvalid, codes.InvalidArgument},
	{disk.ErrUnsupported, codes.InvalidArgument},
	{disk.ErrFormat, codes.InvalidArgument},
	{disk.ErrRefused, codes.FailedPrecondition},
	{disk.ErrHostile, codes.FailedPrecondition},
	{disk.ErrTooLarge, codes.FailedPrecondition},
	{disk.ErrLength, codes.FailedPrecondition},
	{disk.ErrChecksum, codes.FailedPrecondition},
	{disk.ErrCorrupt, codes.FailedPrecondition},
	{disk.ErrNotFound, codes.FailedPrecondition},
	{disk.ErrDenied, codes.FailedPrecondition},
	{disk.ErrUnordered, codes.FailedPrecondition},
	{disk.ErrNoSpace, codes.ResourceExhausted},
	// Where an image comes from is not the NAS, and must not open the circuit breaker.
	{disk.ErrChanged, codes.Aborted},
	{disk.ErrUnavailable, codes.Aborted},
}

// toStatus gives an error its gRPC code.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var own *sdkerrors.ProviderError
	if errors.As(err, &own) {
		return status.Error(own.Code, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, row := range codeOf {
		if errors.Is(err, row.err) {
			return status.Error(row.code, err.Error())
		}
	}
	// The NAS answered and would not do it, in words that tell nothing more, as when a VM's
	// hardware does not start: that is about this VM, and the NAS is well.
	var answered *truenas.Error
	if errors.As(err, &answered) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// Interceptor turns the plain errors of the handlers into gRPC codes; it is the one place that
// does. A request that the API key has no right to is refused before it is handled.
func Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if s, ok := info.Server.(*Server); ok {
			if err := cmp.Or(onOneHost(req), s.permit(featureOf(req))); err != nil {
				return nil, toStatus(err)
			}
		}
		resp, err := inTime(ctx, req, handle)
		if err != nil {
			return nil, toStatus(err)
		}
		return resp, nil
	}
}
