package redfish

import (
	"fmt"
	"net/http"
	"strings"
)

// registry is the message registry of the MessageIds. The DMTF publishes it.
const registry = "Base.1.19"

// message is a row of the Base registry, and the HTTP status of its response.
type message struct {
	key        string
	status     int
	text       string // %1, %2, … are the arguments
	severity   string
	resolution string
}

const (
	warning  = "Warning"
	critical = "Critical"
)

// The messages of the Base registry that this service uses, with the registry's texts.
var (
	msgNoValidSession = message{"NoValidSession", http.StatusUnauthorized, "There is no valid session established with the implementation.", critical,
		"Establish a session before attempting any operations."}
	msgNoPrivilege = message{"InsufficientPrivilege", http.StatusForbidden, "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.", critical,
		"Either abandon the operation or change the associated access rights and resubmit the request if the operation failed."}
	msgSessionLimit = message{"SessionLimitExceeded", http.StatusServiceUnavailable, "The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.", critical,
		"Reduce the number of other sessions before trying to establish the session or increase the limit of simultaneous sessions, if supported."}
	msgMissing = message{"ResourceMissingAtURI", http.StatusNotFound, "The resource at the URI '%1' was not found.", critical,
		"Place a valid resource at the URI or correct the URI and resubmit the request."}
	msgMethod = message{"OperationNotAllowed", http.StatusMethodNotAllowed, "The HTTP method is not allowed on this resource.", critical,
		"None."}
	msgMalformedJSON = message{"MalformedJSON", http.StatusBadRequest, "The request body submitted was malformed JSON and could not be parsed by the receiving service.", critical,
		"Ensure that the request body is valid JSON and resubmit the request."}
	msgEmptyJSON = message{"EmptyJSON", http.StatusBadRequest, "The request body submitted contained an empty JSON object and the service is unable to process it.", warning,
		"Add properties in the JSON object and resubmit the request."}
	msgBody = message{"UnrecognizedRequestBody", http.StatusUnsupportedMediaType, "The service detected a malformed request body that it was unable to interpret.", warning,
		"Correct the request body and resubmit the request if it failed."}
	msgPropertyUnknown = message{"PropertyUnknown", http.StatusBadRequest, "The property %1 is not in the list of valid properties for the resource.", warning,
		"Remove the unknown property from the request body and resubmit the request if the operation failed."}
	msgPropertyDuplicate = message{"PropertyDuplicate", http.StatusBadRequest, "The property %1 was duplicated in the request.", warning,
		"Remove the duplicate property from the request body and resubmit the request if the operation failed."}
	msgPropertyReadOnly = message{"PropertyNotWritable", http.StatusBadRequest, "The property %1 is a read-only property and cannot be assigned a value.", warning,
		"Remove the property from the request body and resubmit the request if the operation failed."}
	msgPropertyType = message{"PropertyValueTypeError", http.StatusBadRequest, "The value '%1' for the property %2 is not a type that the property can accept.", warning,
		"Correct the value for the property in the request body and resubmit the request if the operation failed."}
	msgPropertyList = message{"PropertyValueNotInList", http.StatusBadRequest, "The value '%1' for the property %2 is not in the list of acceptable values.", warning,
		"Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed."}
	msgPropertyMissing = message{"PropertyMissing", http.StatusBadRequest, "The property %1 is a required property and must be included in the request.", warning,
		"Ensure that the property is in the request body and has a valid value and resubmit the request if the operation failed."}
	msgActionNotSupported = message{"ActionNotSupported", http.StatusBadRequest, "The action %1 is not supported by the resource.", critical,
		"Check the Actions property in the resource for the supported actions."}
	msgParameterMissing = message{"ActionParameterMissing", http.StatusBadRequest, "The action %1 requires the parameter %2 to be present in the request body.", critical,
		"Supply the action with the required parameter in the request body when the request is resubmitted."}
	msgParameterUnknown = message{"ActionParameterUnknown", http.StatusBadRequest, "The action %1 was submitted with the invalid parameter %2.", warning,
		"Correct the invalid action parameter and resubmit the request if the operation failed."}
	msgParameterType = message{"ActionParameterValueTypeError", http.StatusBadRequest, "The value '%1' for the parameter %2 in the action %3 is not a type that the parameter can accept.", warning,
		"Correct the value for the parameter in the request body and resubmit the request if the operation failed."}
	msgParameterList = message{"ActionParameterValueNotInList", http.StatusBadRequest, "The value '%1' for the parameter %2 in the action %3 is not in the list of acceptable values.", warning,
		"Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed."}
	msgParameterNotSupported = message{"ActionParameterNotSupported", http.StatusBadRequest, "The parameter %1 for the action %2 is not supported on the target resource.", warning,
		"Remove the parameter supplied and resubmit the request if the operation failed."}
	msgParameterFormat = message{"ActionParameterValueFormatError", http.StatusBadRequest, "The value '%1' for the parameter %2 in the action %3 is not a format that the parameter can accept.", warning,
		"Correct the value for the parameter in the request body and resubmit the request if the operation failed."}
	msgQuery = message{"QueryNotSupported", http.StatusNotImplemented, "Querying is not supported by the implementation.", warning,
		"Remove the query parameters and resubmit the request if the operation failed."}
	msgPrecondition = message{"PreconditionFailed", http.StatusPreconditionFailed, "The ETag supplied did not match the ETag required to change this resource.", critical,
		"Try the operation again using the appropriate ETag."}
	msgInUse = message{"ResourceInUse", http.StatusConflict, "The change to the requested resource failed because the resource is in use or in transition.", warning,
		"Remove the condition and resubmit the request if the operation failed."}
	msgUnavailable = message{"ServiceTemporarilyUnavailable", http.StatusServiceUnavailable, "The service is temporarily unavailable.  Retry in %1 seconds.", critical,
		"Wait for the indicated retry duration and retry the operation."}
	msgInternal = message{"InternalError", http.StatusInternalServerError, "The request failed due to an internal service error.  The service is still operational.", critical,
		"Resubmit the request.  If the problem persists, consider resetting the service."}
	msgGeneral = message{"GeneralError", http.StatusBadRequest, "A general error has occurred.  See Resolution for information on how to resolve the error, or @Message.ExtendedInfo if Resolution is not provided.", critical,
		"None."}
)

// fault is an error in the form of a client's response: one or more messages, of which the first decides the HTTP status.
type fault struct {
	messages []extendedMessage
}

// extendedMessage is a message with its arguments.
type extendedMessage struct {
	message
	args []string
	at   string // JSON pointer of the property in question; "": the complete request
	note string // a note after the registry's text; "": none
}

func (f *fault) Error() string {
	texts := make([]string, len(f.messages))
	for i, m := range f.messages {
		texts[i] = m.sentence()
	}
	return strings.Join(texts, " ")
}

func (f *fault) status() int { return f.messages[0].status }

// fail returns an error with one message.
func fail(m message, args ...string) *fault {
	return &fault{[]extendedMessage{{message: m, args: args}}}
}

// because adds a reason to the registry's text.
func (f *fault) because(format string, args ...any) *fault {
	f.messages[0].note = fmt.Sprintf(format, args...)
	return f
}

// with returns the same message with another HTTP status.
func (f *fault) with(status int) *fault {
	f.messages[0].status = status
	return f
}

func (a extendedMessage) sentence() string {
	text := a.text
	for i, arg := range a.args {
		text = strings.ReplaceAll(text, fmt.Sprintf("%%%d", i+1), shortened(arg))
	}
	if a.note != "" {
		text += " " + a.note
	}
	return text
}

// maxArgument bounds the length of a value in a message.
const maxArgument = 100

func shortened(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxArgument {
		return text
	}
	return strings.ToValidUTF8(text[:maxArgument], "") + "…"
}

// body returns the error in the standard's form.
func (f *fault) body() object {
	infos := make([]object, len(f.messages))
	for i, m := range f.messages {
		args := make([]string, len(m.args))
		for j, arg := range m.args {
			args[j] = shortened(arg)
		}
		infos[i] = object{
			"@odata.type": "#Message.v1_1_2.Message", "MessageId": registry + "." + m.key, "Message": m.sentence(),
			"MessageArgs": args, "MessageSeverity": m.severity, "Severity": m.severity, "Resolution": m.resolution,
		}
		if m.at != "" {
			infos[i]["RelatedProperties"] = []string{m.at}
		}
	}
	first := infos[0]
	return object{"error": object{"code": first["MessageId"], "message": first["Message"], "@Message.ExtendedInfo": infos}}
}
