package redfish

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const (
	pathRoot       = "/redfish/v1"
	redfishVersion = "1.18.0"
)

// table lists the routes.
func (s *Service) table() []route {
	list := []route{
		{pattern: "/redfish", open: true, raw: s.versions},
		{pattern: pathRoot, open: true, get: s.root},
		{pattern: pathRoot + "/odata", open: true, get: s.odata},
		{pattern: pathRoot + "/$metadata", open: true, raw: s.metadata},

		{pattern: pathSessionService, get: s.sessionService},
		{pattern: pathSessions, get: s.sessionList, post: s.sessionCreate, login: true},
		// The standard allows clients to post to the Members of a collection.
		{pattern: pathSessions + "/Members", post: s.sessionCreate, login: true},
		{pattern: pathSessions + "/{session}", get: s.session, remove: s.sessionDelete, needs: configureSelf},

		{pattern: pathAccountService, get: s.accountService},
		{pattern: pathAccountService + "/Accounts", get: s.accountList},
		{pattern: pathAccountService + "/Accounts/{account}", get: s.accountResource},
		{pattern: pathAccountService + "/Roles", get: s.roleList},
		{pattern: pathAccountService + "/Roles/{role}", get: s.role},

		{pattern: pathSystems, get: s.listOf("ComputerSystemCollection", "Systems")},
		{pattern: pathSystems + "/{system}", get: s.ofSystem(system.resource), patch: s.patchSystem, needs: configureComponents},
		{pattern: pathSystems + "/{system}/ResetActionInfo", get: s.ofMember(system.resetActionInfo)},
		{pattern: pathSystems + "/{system}/Actions/" + actionReset, post: s.reset, needs: configureComponents},
		{pattern: pathSystems + "/{system}/SecureBoot", get: s.ofSystem(system.secureBoot)},

		{pattern: pathRoot + "/Managers", get: s.listOf("ManagerCollection", "Managers")},
		{pattern: pathRoot + "/Managers/{system}", get: s.ofMember(system.manager)},
		{pattern: pathRoot + "/Managers/{system}/VirtualMedia", get: s.ofMember(system.mediaList)},
		{pattern: pathRoot + "/Managers/{system}/VirtualMedia/Cd", get: s.ofSystem(system.media)},
		{pattern: pathRoot + "/Managers/{system}/VirtualMedia/Cd/Actions/" + actionInsert, post: s.insertMedia, needs: configureComponents},
		{pattern: pathRoot + "/Managers/{system}/VirtualMedia/Cd/Actions/" + actionEject, post: s.ejectMedia, needs: configureComponents},
		{pattern: pathRoot + "/Chassis", get: s.listOf("ChassisCollection", "Chassis")},
		{pattern: pathRoot + "/Chassis/{system}", get: s.ofSystem(system.chassis)},

		{pattern: pathRoot + "/Registries", get: s.registries},
		{pattern: pathRoot + "/Registries/{registry}", get: s.registry},
		{pattern: pathRoot + "/JsonSchemas", get: s.schemas},
		{pattern: pathRoot + "/JsonSchemas/{schema}", get: s.schema},
	}
	for _, p := range []part{processors, memory, ethernet, storage, drives, volumes} {
		folder := pathSystems + "/{system}/" + p.folder
		list = append(list, route{pattern: folder, get: s.list(p)}, route{pattern: folder + "/{part}", get: s.one(p)})
	}
	return list
}

// versions is the only resource without an id, because the standard prescribes its exact text.
func (s *Service) versions(c *call) error {
	c.writer.Header().Set("Allow", route{raw: s.versions}.allowed())
	write(c.writer, http.StatusOK, []byte(`{"v1":"`+pathRoot+`/"}`))
	return nil
}

func (s *Service) root(*call) (object, error) {
	return object{
		"@odata.id": pathRoot + "/", "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot", "Id": "RootService", "Name": "Root Service",
		"RedfishVersion": redfishVersion, "UUID": s.id, "Product": "Virtual machines",
		"ProtocolFeaturesSupported": object{
			"ExpandQuery": object{"ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false},
			"FilterQuery": false, "SelectQuery": false, "ExcerptQuery": false, "OnlyMemberQuery": false,
			"DeepOperations": object{"DeepPATCH": false, "DeepPOST": false},
		},
		"Systems": link(pathSystems), "Managers": link(pathRoot + "/Managers"), "Chassis": link(pathRoot + "/Chassis"),
		"SessionService": link(pathSessionService), "AccountService": link(pathAccountService),
		"Registries": link(pathRoot + "/Registries"), "JsonSchemas": link(pathRoot + "/JsonSchemas"),
		"Links": object{"Sessions": link(pathSessions)},
	}, nil
}

func (s *Service) odata(*call) (object, error) {
	var values []object
	for _, name := range []string{"Systems", "Managers", "Chassis", "SessionService", "AccountService", "Registries", "JsonSchemas"} {
		values = append(values, object{"name": name, "kind": "Singleton", "url": pathRoot + "/" + name})
	}
	values = append(values, object{"name": "Service", "kind": "Singleton", "url": pathRoot + "/"})
	return object{"@odata.context": pathRoot + "/$metadata", "value": values}, nil
}

// schemaVersions are the schemas that resources name, each in one version. Collections have none.
var schemaVersions = []string{
	"AccountService.v1_12_0", "ActionInfo.v1_3_0", "Chassis.v1_22_0", "ChassisCollection", "ComputerSystem.v1_20_0", "ComputerSystemCollection",
	"Drive.v1_16_0", "DriveCollection", "EthernetInterface.v1_9_0", "EthernetInterfaceCollection", "JsonSchemaFile.v1_1_4", "JsonSchemaFileCollection",
	"Manager.v1_17_0", "ManagerAccount.v1_10_0", "ManagerAccountCollection", "ManagerCollection", "Memory.v1_16_0", "MemoryCollection",
	"Message.v1_1_2", "MessageRegistryFile.v1_1_3", "MessageRegistryFileCollection", "Processor.v1_17_0", "ProcessorCollection", "Role.v1_3_1",
	"RoleCollection", "SecureBoot.v1_1_0", "ServiceRoot.v1_15_0", "Session.v1_6_0", "SessionCollection", "SessionService.v1_1_8", "Storage.v1_13_0",
	"StorageCollection", "VirtualMedia.v1_6_0", "VirtualMediaCollection", "Volume.v1_8_0", "VolumeCollection",
}

const published = "http://redfish.dmtf.org/schemas/v1/"

// metadata names the schemas, as the DMTF publishes them.
func (s *Service) metadata(c *call) error {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">` + "\n")
	for _, schema := range schemaVersions {
		name, _, versioned := strings.Cut(schema, ".")
		fmt.Fprintf(&b, "  <edmx:Reference Uri=%q>\n    <edmx:Include Namespace=%q/>\n", published+name+"_v1.xml", name)
		if versioned {
			fmt.Fprintf(&b, "    <edmx:Include Namespace=%q/>\n", schema)
		}
		b.WriteString("  </edmx:Reference>\n")
	}
	b.WriteString(`  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="Service">
      <EntityContainer Name="Service" Extends="ServiceRoot.v1_15_0.ServiceContainer"/>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
`)
	c.writer.Header().Set("Content-Type", "application/xml; charset=utf-8")
	_, _ = c.writer.Write([]byte(b.String()))
	return nil
}

func (s *Service) registries(*call) (object, error) {
	return collection("MessageRegistryFileCollection", "Registries", []string{pathRoot + "/Registries/" + registry}), nil
}

func (s *Service) registry(c *call) (object, error) {
	if c.params["registry"] != registry {
		return nil, c.missing()
	}
	return object{
		"@odata.type": "#MessageRegistryFile.v1_1_3.MessageRegistryFile", "Id": registry, "Name": "Base Message Registry File", "Registry": registry,
		"Languages": []string{"en"}, "Location": []object{{"Language": "en", "PublicationUri": "https://redfish.dmtf.org/registries/" + registry + ".0.json"}},
	}, nil
}

// schemaOf returns the path of the schema of a resource, or "".
func schemaOf(body object) string {
	kind := strings.TrimPrefix(body.text("@odata.type"), "#")
	if kind == "" {
		return ""
	}
	return pathRoot + "/JsonSchemas/" + kind[:strings.LastIndex(kind, ".")]
}

func (s *Service) schemas(*call) (object, error) {
	paths := make([]string, len(schemaVersions))
	for i, schema := range schemaVersions {
		paths[i] = pathRoot + "/JsonSchemas/" + schema
	}
	return collection("JsonSchemaFileCollection", "JsonSchemas", paths), nil
}

func (s *Service) schema(c *call) (object, error) {
	name := c.params["schema"]
	if !slices.Contains(schemaVersions, name) {
		return nil, c.missing()
	}
	bare, _, versioned := strings.Cut(name, ".")
	reference := "#" + name + "." + bare
	if !versioned {
		reference = "#" + bare + "." + bare
	}
	return object{
		"@odata.type": "#JsonSchemaFile.v1_1_4.JsonSchemaFile", "Id": name, "Name": bare + " Schema File", "Schema": reference,
		"Languages": []string{"en"}, "Location": []object{{"Language": "en", "PublicationUri": published + name + ".json"}},
	}, nil
}

const pathAccountService = pathRoot + "/AccountService"

// accountService describes the service of the accounts, which is read-only.
func (s *Service) accountService(*call) (object, error) {
	return object{
		"@odata.type": "#AccountService.v1_12_0.AccountService", "Id": "AccountService", "Name": "Account Service", "ServiceEnabled": true, "Status": healthy(),
		"MinPasswordLength": minPassword, "MaxPasswordLength": maxPassword,
		"AccountLockoutThreshold": lockAddressThreshold, "AccountLockoutDuration": int(lockDuration.Seconds()), "AccountLockoutCounterResetAfter": int(lockCounterReset.Seconds()),
		"Accounts": link(pathAccountService + "/Accounts"), "Roles": link(pathAccountService + "/Roles"),
	}, nil
}

// visibleAccounts lists the accounts that the caller may see.
func (s *Service) visibleAccounts(c *call) []Account {
	return slices.DeleteFunc(slices.Clone(s.accounts.all()), func(a Account) bool { return a.Name != c.account.Name && !c.account.may(configureUsers) })
}

func (s *Service) accountList(c *call) (object, error) {
	var paths []string
	for _, a := range s.visibleAccounts(c) {
		paths = append(paths, pathAccountService+"/Accounts/"+a.Name)
	}
	return collection("ManagerAccountCollection", "Accounts", paths), nil
}

func (s *Service) accountResource(c *call) (object, error) {
	for _, a := range s.visibleAccounts(c) {
		if a.Name == c.params["account"] {
			return object{
				"@odata.type": "#ManagerAccount.v1_10_0.ManagerAccount", "Id": a.Name, "Name": "Account " + a.Name, "UserName": a.Name, "Password": nil,
				"RoleId": a.Role, "Enabled": true, "Locked": s.logins.isLocked(a.Name), "AccountTypes": []string{"Redfish"},
				"Links": object{"Role": link(pathAccountService + "/Roles/" + a.Role)},
			}, nil
		}
	}
	return nil, c.missing()
}

func (s *Service) roleList(*call) (object, error) {
	paths := make([]string, len(roles))
	for i, r := range roles {
		paths[i] = pathAccountService + "/Roles/" + r.name
	}
	return collection("RoleCollection", "Roles", paths), nil
}

func (s *Service) role(c *call) (object, error) {
	privileges := privilegesOf(c.params["role"])
	if privileges == nil {
		return nil, c.missing()
	}
	return object{
		"@odata.type": "#Role.v1_3_1.Role", "Id": c.params["role"], "RoleId": c.params["role"], "Name": c.params["role"] + " Role",
		"IsPredefined": true, "AssignedPrivileges": privileges,
	}, nil
}

var _ http.Handler = (*Service)(nil)
