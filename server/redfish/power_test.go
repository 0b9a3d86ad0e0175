package redfish

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	on, off, reboot, graceful = "POWER_OP_ON", "POWER_OP_OFF", "POWER_OP_REBOOT", "POWER_OP_SHUTDOWN_GRACEFUL"
	resetPath                 = "/Actions/ComputerSystem.Reset"
)

func (w *world) reset(id, kind string) reply {
	w.t.Helper()
	return w.as("root", http.MethodPost, "/redfish/v1/Systems/"+id+resetPath, `{"ResetType":"`+kind+`"}`)
}

func TestReset(t *testing.T) {
	for _, tt := range []struct {
		kind   string
		off    []string // calls for a system that is off
		onn    []string // calls for a system that is on
		status int      // for a system that is off
	}{
		{"On", []string{on}, []string{on}, http.StatusNoContent},
		{"ForceOff", []string{off}, []string{off}, http.StatusNoContent},
		{"GracefulShutdown", []string{graceful}, []string{graceful}, http.StatusNoContent},
		{"GracefulRestart", nil, []string{reboot}, http.StatusConflict},
		{"ForceRestart", nil, []string{off, on}, http.StatusConflict},
		{"PowerCycle", []string{off, on}, []string{off, on}, http.StatusNoContent},
	} {
		w := newWorld(t)
		if r := w.reset(webID, tt.kind); r.status != tt.status {
			t.Errorf("%s of a system that is off: %d %s", tt.kind, r.status, r.text)
		}
		if calls := w.backend.asked(); !slices.Equal(calls, tt.off) {
			t.Errorf("%s of a system that is off: %q", tt.kind, calls)
		}
		if r := w.reset(storeID, tt.kind); r.status != http.StatusNoContent {
			t.Errorf("%s of a system that is on: %d %s", tt.kind, r.status, r.text)
		}
		if calls := w.backend.asked(); !slices.Equal(calls, tt.onn) {
			t.Errorf("%s of a system that is on: %q", tt.kind, calls)
		}
	}
}

// A power cycle waits for the end of its first step before the second.
func TestPowerCycleWaits(t *testing.T) {
	w := newWorld(t)
	w.backend.task = true
	if r := w.reset(storeID, "PowerCycle"); r.status != http.StatusNoContent {
		t.Fatal(r.status, r.text)
	}
	if calls := w.backend.asked(); !slices.Equal(calls, []string{off, "TaskStatus", "TaskStatus", on}) {
		t.Errorf("%q", calls)
	}
}

// The end of a client's request does not leave the system off.
func TestPowerCycleOutlivesItsClient(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := &call{ctx: ctx, params: map[string]string{"system": storeID}, account: Account{Role: Operator}}
	client := &disconnecting{backend: w.backend, cancel: cancel}
	w.service.provider.client = client
	if _, err := w.service.reset(c, object{"ResetType": "ForceRestart"}); err != nil {
		t.Fatal(err)
	}
	if calls := w.backend.asked(); !slices.Equal(calls, []string{off, on}) || ctx.Err() == nil {
		t.Errorf("%q", calls)
	}
}

func TestResetBodies(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ body, message string }{
		{`{}`, "ActionParameterMissing"},
		{`{"ResetType":"Nmi"}`, "ActionParameterValueNotInList"},
		{`{"ResetType":"on"}`, "ActionParameterValueNotInList"},
		{`{"ResetType":true}`, "ActionParameterValueTypeError"},
		{`{"ResetType":"On","Force":true}`, "ActionParameterUnknown"},
		{`{"ResetType":"On","ResetType":"ForceOff"}`, "PropertyDuplicate"},
		{`"On"`, "MalformedJSON"},
	} {
		r := w.as("root", http.MethodPost, "/redfish/v1/Systems/"+webID+resetPath, tt.body)
		if r.status != http.StatusBadRequest || r.message() != tt.message {
			t.Errorf("%s: %d %s", tt.body, r.status, r.text)
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider received the calls %q", calls)
	}
}

func TestErrorsOfTheProvider(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		code    codes.Code
		status  int
		message string
		shown   bool // the client gets the provider's text
	}{
		{codes.FailedPrecondition, http.StatusConflict, "ResourceInUse", true},
		{codes.Aborted, http.StatusConflict, "ResourceInUse", true},
		{codes.InvalidArgument, http.StatusBadRequest, "GeneralError", true},
		{codes.NotFound, http.StatusNotFound, "GeneralError", true},
		{codes.Unimplemented, http.StatusNotImplemented, "GeneralError", true},
		{codes.ResourceExhausted, http.StatusInsufficientStorage, "ResourceInUse", true},
		{codes.Unavailable, http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", false},
		{codes.DeadlineExceeded, http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", false},
		{codes.Internal, http.StatusInternalServerError, "InternalError", false},
		{codes.Unknown, http.StatusInternalServerError, "InternalError", false},
	} {
		w.backend.fail = status.Error(tt.code, "the reason why")
		r := w.reset(webID, "On")
		if r.status != tt.status || r.message() != tt.message || strings.Contains(r.text, "the reason why") != tt.shown {
			t.Errorf("%v: %d %s", tt.code, r.status, r.text)
		}
		if (r.header.Get("Retry-After") != "") != (tt.status == http.StatusServiceUnavailable) {
			t.Errorf("%v: Retry-After %q", tt.code, r.header.Get("Retry-After"))
		}
	}
}
