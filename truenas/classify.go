package truenas

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// JSON-RPC codes that TrueNAS uses.
const (
	codeTooManyCalls  = -32000
	codeCallFailed    = -32001
	codeInvalidParams = -32602
	codeNoSuchMethod  = -32601
)

// Linux errno values, and TrueNAS's own.
const (
	ePERM             = 1
	eNOENT            = 2
	eNOMEM            = 12
	eACCES            = 13
	eBUSY             = 16
	eEXIST            = 17
	eINVAL            = 22
	eNOSPC            = 28
	eNOTEMPTY         = 39
	eDQUOT            = 122
	eNOTAUTHENTICATED = 207
)

// matchNotFound is the exception class of a query with "get" that matches no record. Its errno is
// EINVAL.
const matchNotFound = "MatchNotFound"

// kindOfErrno applies to failed calls, jobs and validation errors alike. EINVAL, EFAULT and EAGAIN
// are missing because TrueNAS uses them for many causes.
var kindOfErrno = map[int]error{
	eNOENT:            ErrNotFound,
	eEXIST:            ErrExists,
	eBUSY:             ErrBusy,
	eNOMEM:            ErrNoMemory,
	eNOSPC:            ErrNoSpace,
	eDQUOT:            ErrNoSpace,
	ePERM:             ErrPermission,
	eACCES:            ErrPermission,
	eNOTEMPTY:         ErrNotEmpty,
	eNOTAUTHENTICATED: ErrAuth,
}

// errnoNames are the names that TrueNAS puts into texts, as in "[ENOENT] …".
var errnoNames = map[string]int{
	"EPERM": ePERM, "ENOENT": eNOENT, "ENOMEM": eNOMEM, "EACCES": eACCES, "EBUSY": eBUSY,
	"EEXIST": eEXIST, "EINVAL": eINVAL, "ENOSPC": eNOSPC, "ENOTEMPTY": eNOTEMPTY, "EDQUOT": eDQUOT,
	"ENOTAUTHENTICATED": eNOTAUTHENTICATED,
}

// kindOfText maps parts of error texts, in lower case, to kinds; the first match counts. Dependents
// of a snapshot come before "busy", because ZFS reports them as busy too. Holds come first: the
// text that reports a hold continues with "dataset already exists".
var kindOfText = []struct {
	text string
	kind error
}{
	{"being held", ErrHeld},
	{"following holds", ErrHeld},
	{"there are holds", ErrHeld},
	{"dependent clone", ErrHasClones},
	{"is cloned", ErrHasClones},
	{"following clones", ErrHasClones},
	{"there are clones", ErrHasClones},
	{"has clones", ErrHasClones},
	{"have clones", ErrHasClones},
	{"has dependents", ErrHasClones},
	{"dependent dataset", ErrHasClones},
	{"clones of previous snapshots exist", ErrHasClones},
	{"failed to connect to libvirt", ErrUnavailable},
	{"libvirt-sock", ErrUnavailable},
	{"client socket is closed", ErrUnavailable},
	{"cannot guarantee memory", ErrNoMemory},
	{"more than 80%", ErrNoSpace},
	{"80% of", ErrNoSpace},
	{"out of space", ErrNoSpace},
	{"no space left", ErrNoSpace},
	{"not enough space", ErrNoSpace},
	{"insufficient space", ErrNoSpace},
	{"greater than available space", ErrNoSpace},
	{"does not have snapshots but has data", ErrExists}, // target of a replication
	{"no incremental base on dataset", ErrExists},
	{"already exists", ErrExists},
	{"is already defined with uuid", ErrExists},
	{"already configured", ErrExists},
	{"already has a nic with mac address", ErrExists}, // from 26 on
	{"already defined with uuid", ErrExists},
	{"already running", ErrActive},
	{"is already active", ErrActive},
	{"please stop", ErrActive},
	{"when vm is inactive", ErrActive},
	{"vm state is currently not", ErrInactive},
	{"device(s) are not available", ErrNoDevice}, // up to 25.10
	{"cannot start domain", ErrNoDevice},         // from 26 on
	{"not running", ErrInactive},
	{"is not active", ErrInactive},
	{"directory not empty", ErrNotEmpty},
	{"has children", ErrNotEmpty},
	{`failed to get "write" lock`, ErrBusy},
	{`failed to get shared "write" lock`, ErrBusy},
	{"is busy", ErrBusy},
	{"resource busy", ErrBusy},
	{"in use by", ErrBusy},
	{"currently in use", ErrBusy},
	{"not authenticated", ErrAuth},
	{"does not exist", ErrNotFound},
	{"matchnotfound", ErrNotFound},
	{"no such file", ErrNotFound},
	{"not found", ErrNotFound},
}

// qemuFailed starts the text of a failed conversion. Its errno is the exit status of qemu-img,
// which is always 1 and does not mean EPERM.
const qemuFailed = "qemu-img convert failed"

// classify is the only code that interprets errnos and texts of errors. It returns nil when they do
// not reveal a cause.
func classify(e *Error) error {
	switch e.Code {
	case codeTooManyCalls:
		return ErrUnavailable
	case codeNoSuchMethod:
		return ErrUnsupported
	}
	if e.Name == matchNotFound {
		return ErrNotFound
	}
	if e.Code == codeInvalidParams || len(e.Fields) > 0 {
		return classifyFields(e)
	}
	if kind := ofText(e.Reason); dependents(kind) {
		return kind
	}
	if strings.Contains(e.Reason, qemuFailed) {
		return ofText(e.Reason)
	}
	if kind := kindOfErrno[e.Errno]; kind != nil {
		return kind
	}
	if kind := kindOfErrno[bracketed(e.Reason)]; kind != nil {
		return kind
	}
	if kind := ofText(e.Reason); kind != nil {
		return kind
	}
	if e.Errno == eINVAL || bracketed(e.Reason) == eINVAL {
		return ErrInvalid
	}
	return nil
}

// classifyFields returns the kind that all fields share, otherwise ErrInvalid. A missing instance
// is a validation error too: [null, "VM 1 does not exist", 2].
func classifyFields(e *Error) error {
	var agreed error
	for _, f := range e.Fields {
		kind := ofField(f)
		if agreed != nil && kind != agreed {
			return ErrInvalid
		}
		agreed = kind
	}
	if agreed == nil && len(e.Fields) == 0 {
		agreed = kindOfErrno[bracketed(e.Reason)]
	}
	if agreed == nil {
		return ErrInvalid
	}
	return agreed
}

// dependents reports whether a kind names the dependents of a snapshot. Such a text is more specific than its errno, which is
// EBUSY or ENOTEMPTY.
func dependents(kind error) bool { return kind == ErrHasClones || kind == ErrHeld }

func ofField(f FieldError) error {
	if kind := ofText(f.Message); dependents(kind) {
		return kind
	}
	if kind := kindOfErrno[f.Errno]; kind != nil {
		return kind
	}
	if kind := kindOfErrno[bracketed(f.Message)]; kind != nil {
		return kind
	}
	if strings.HasPrefix(strings.ToLower(f.Message), "parent dataset") {
		return ofText(f.Message) // The name is valid, but its parent was removed.
	}
	switch kind := ofText(f.Message); kind {
	case ErrExists, ErrNoSpace, ErrNoMemory, ErrBusy, ErrHasClones, ErrActive, ErrInactive:
		return kind
	}
	return ErrInvalid // "X not found" in a field's text means a bad value of that field
}

func ofText(text string) error {
	text = strings.ToLower(text)
	if noDomain(text) {
		return ErrInactive
	}
	for _, row := range kindOfText {
		if strings.Contains(text, row.text) {
			return row.kind
		}
	}
	return nil
}

// noDomain reports whether libvirt has no domain of the VM: from 26 on because the VM was never
// started, before because TrueNAS could not define one.
func noDomain(text string) bool {
	return strings.Contains(text, "domain ") && strings.HasSuffix(strings.TrimSpace(text), " does not exist")
}

// bracketed returns the errno of the last "[ENAME]" in a text. An error that wraps another starts
// with "[EFAULT]", so the first is misleading.
func bracketed(text string) int {
	found := 0
	for {
		_, after, ok := strings.Cut(text, "[E")
		if !ok {
			return found
		}
		name, _, closed := strings.Cut(after, "]")
		if n := errnoNames["E"+name]; closed && n != 0 {
			found = n
		}
		text = after
	}
}

// definedAs matches libvirt's name of the domain that already has a UUID; the number is the VM's
// id.
var definedAs = regexp.MustCompile(`domain '(\d+)_[^']*' is already defined with uuid`)

// DefinedAs returns the id of the VM that already has the UUID passed to vm.create. TrueNAS keeps
// the record of the refused call.
func DefinedAs(err error) (vm int64, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return 0, false
	}
	found := definedAs.FindStringSubmatch(e.Reason)
	if found == nil {
		return 0, false
	}
	vm, err = strconv.ParseInt(found[1], 10, 64)
	return vm, err == nil
}
