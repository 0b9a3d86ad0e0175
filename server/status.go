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

// codeOf is the code and the reason of every failure, in the order in which the table is read.
//
// The manager counts Unavailable, DeadlineExceeded, Internal and Unknown towards its circuit
// breaker, which cuts off every VM of the provider, so those mean "the NAS is in trouble" and
// never "this request is wrong".
var codeOf = []struct {
	err  error
	code codes.Code
	why  reason
}{
	{errVMFailed, codes.Unavailable, vmOperationFailed},
	{errDiskUnchecked, codes.Unavailable, diskCheckFailed},
	{errDiskInUse, codes.FailedPrecondition, diskInUse},
	{errSourceRunning, codes.FailedPrecondition, sourceRunning},
	{errUnderWay, codes.Unavailable, artifactUnderWay},
	{errSourceUnusable, codes.Unavailable, sourceUnavailable},
	{context.DeadlineExceeded, codes.Unavailable, noReason}, // See [inTime]: there is time to say why.
	{context.Canceled, codes.Canceled, noReason},
	{truenas.ErrAuth, codes.PermissionDenied, noReason},
	{errForeign, codes.FailedPrecondition, noReason},
	{truenas.ErrPermission, codes.PermissionDenied, noReason},
	{truenas.ErrUncertain, codes.Unavailable, noReason},
	{truenas.ErrUnavailable, codes.Unavailable, noReason},
	{truenas.ErrCertificate, codes.Unavailable, noReason},
	{truenas.ErrUnsupported, codes.FailedPrecondition, noReason},
	{truenas.ErrHasClones, codes.FailedPrecondition, noReason},
	{truenas.ErrHeld, codes.FailedPrecondition, noReason},
	{truenas.ErrNotEmpty, codes.FailedPrecondition, noReason},
	{truenas.ErrNoDevice, codes.FailedPrecondition, noReason},
	{truenas.ErrNoSpace, codes.ResourceExhausted, noReason},
	{truenas.ErrNoMemory, codes.ResourceExhausted, noReason},
	{truenas.ErrNotFound, codes.NotFound, noReason},
	{truenas.ErrExists, codes.AlreadyExists, noReason},
	{truenas.ErrBusy, codes.Aborted, noReason},
	{truenas.ErrJobLost, codes.Aborted, noReason},
	{truenas.ErrStalled, codes.Aborted, noReason},
	{truenas.ErrAborted, codes.Aborted, noReason},
	{truenas.ErrInvalid, codes.InvalidArgument, noReason},
	{disk.ErrInvalid, codes.InvalidArgument, noReason},
	{disk.ErrUnsupported, codes.InvalidArgument, noReason},
	{disk.ErrFormat, codes.InvalidArgument, noReason},
	{disk.ErrRefused, codes.FailedPrecondition, noReason},
	{disk.ErrHostile, codes.FailedPrecondition, noReason},
	{disk.ErrTooLarge, codes.FailedPrecondition, noReason},
	{disk.ErrLength, codes.FailedPrecondition, noReason},
	{disk.ErrChecksum, codes.FailedPrecondition, noReason},
	{disk.ErrCorrupt, codes.FailedPrecondition, noReason},
	{disk.ErrNotFound, codes.FailedPrecondition, noReason},
	{disk.ErrDenied, codes.FailedPrecondition, noReason},
	{disk.ErrUnordered, codes.FailedPrecondition, noReason},
	{disk.ErrNoSpace, codes.ResourceExhausted, noReason},
	// Where an image comes from is not the NAS, and must not open the circuit breaker.
	{disk.ErrChanged, codes.Aborted, noReason},
	{disk.ErrUnavailable, codes.Aborted, noReason},
}

// verdict reads the table. A failure that is not in it belongs to one VM: the NAS answered and refused, as when a VM's process
// does not start, or this program cannot handle what it read of the VM. The NAS and the other VMs are well then.
func verdict(err error) (codes.Code, reason) {
	var kind fault
	if own := (*sdkerrors.ProviderError)(nil); !errors.As(err, &kind) && errors.As(err, &own) {
		return own.Code, noReason
	}
	for _, row := range codeOf {
		if errors.Is(err, row.err) {
			return row.code, row.why
		}
	}
	if answered := (*truenas.Error)(nil); errors.As(err, &answered) {
		return codes.FailedPrecondition, vmOperationFailed
	}
	return codes.Internal, vmOperationFailed
}

// toStatus gives an error its gRPC code and its reason. A reason that is about one VM is for requests about one.
func toStatus(req any, err error) error {
	if _, ok := status.FromError(err); ok && !errors.As(err, new(*sdkerrors.ProviderError)) {
		return err
	}
	code, why := verdict(err)
	if why == vmOperationFailed && !aboutVM(req) {
		why = noReason
	}
	return withReason(code, err.Error(), why)
}

// Interceptor turns the plain errors of the handlers into gRPC codes; it is the one place that
// does. A request that the API key has no right to is refused before it is handled.
func Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if s, ok := info.Server.(*Server); ok {
			if ofLine04(req) {
				s.newerManager.Store(true)
			}
			if err := cmp.Or(onOneHost(req), s.permit(featureOf(req))); err != nil {
				return nil, toStatus(req, err)
			}
			handle = s.admitting(handle)
		}
		resp, err := inTime(ctx, req, handle)
		if err == nil {
			return resp, nil
		}
		if s, ok := info.Server.(*Server); ok {
			err = s.public(err)
		}
		return nil, toStatus(req, err)
	}
}
