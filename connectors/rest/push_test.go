package rest

import (
	"context"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// simple is a vendor without upsert.
const simple = top + `
settings:
  - {name: token, secret: true, help: of the account}
  - {name: list, help: a list to be on}
auth: {bearer: "{{ settings.token }}"}
fields: [{to: first, from: first_name}, {to: phone, from: phone}]
verbs:
  check: {request: GET /me, success: answer.id != nil, fields: {list: answer.fields}}
  find:
    request: GET /people
    query: {ext: "{{ lead.id }}"}
    success: answer.people != nil
    ref: answer.people[0].id
  lookup:
    request: POST /people/search
    body: {email: "{{ lead.email }}"}
    success: answer.people != nil
    ref: answer.people[0].id
  create:
    request: POST /people
    body: {ext: "{{ lead.id }}", "...": "{{ fields }}"}
    success: answer.ok == true
    ref: answer.id
    echo: answer.kept
    then:
      - on: [create]
        when: settings.list != ""
        request: PUT /lists/{{ settings.list }}/members/{{ ref }}
  update:
    request: PATCH /people/{{ ref }}
    body: {"...": "{{ fields }}"}
    success: answer.ok == true
  delete:
    request: DELETE /people/{{ ref }}
    before:
      - list: {request: "GET /people/{{ ref }}/deals", success: answer != nil, ref: answer.deals}
        request: DELETE /deals/{{ item.id }}
  erase:
    request: POST /people/{{ ref }}/erase
errors:
  - {status: 404, verbs: [update, delete, erase, find], when: error.code == "no_such_person", gone: true}
  - {status: 409, when: error.id != nil, exists: error.id}
  - {status: 409, when: error.code == "taken", exists: true}
  - {status: 400, when: error.code == "bad_phone", without: phone}
  - {status: 200, when: error.ok == false and error.code == "busy", fault: throttled, wait: error.seconds}
  - {status: 200, when: error.ok == false, fault: lead, reason: error.why}
`

func openSimple(t *testing.T, settings map[string]any, answers ...says) (*vendor, connectors.Connector) {
	v := newVendor(t, answers...)
	given := map[string]any{"token": "s3cret-t0ken"}
	for name, value := range settings {
		given[name] = value
	}
	return v, open(t, v, simple, given)
}

func TestACreateReturnsTheRef(t *testing.T) {
	v, c := openSimple(t, nil, says{status: 201, body: `{"ok":true,"id":17}`})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "17", ref, err)
	v.wants(`POST /people {"ext":"lead_1","first":"Ada","phone":null}`)
	if got := v.headers[0].Get("Authorization"); got != "Bearer s3cret-t0ken" {
		t.Errorf("signed in with %q", got)
	}
}

func TestWhatIsThereAlreadyIsAdopted(t *testing.T) {
	v, c := openSimple(t, nil, says{status: 409, body: `{"id":9}`}, says{status: 200, body: `{"ok":true}`})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "9", ref, err)
	v.wants(`POST /people {"ext":"lead_1","first":"Ada","phone":null}`, `PATCH /people/9 {"first":"Ada","phone":null}`)
}

func TestWhatIsThereAlreadyIsLookedUpWhereTheAnswerNamesNoId(t *testing.T) {
	v, c := openSimple(t, nil, says{status: 409, body: `{"code":"taken"}`}, says{status: 200, body: `{"people":[{"id":"p/8"}]}`}, says{status: 200, body: `{"ok":true}`})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "p/8", ref, err)
	v.wants(`POST /people {"ext":"lead_1","first":"Ada","phone":null}`, `POST /people/search {"email":"1@example.com"}`, `PATCH /people/p%2F8 {"first":"Ada","phone":null}`)

	_, c = openSimple(t, nil, says{status: 409, body: `{"code":"taken"}`}, says{status: 200, body: `{"people":[]}`})
	_, err = push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Remote, "does not find it yet")
}

func TestAnUpdateThatMeetsAnotherRecordIsTheLeadsTrouble(t *testing.T) {
	_, c := openSimple(t, nil, says{status: 409, body: `{"id":9}`})
	_, err := push(c, lead.Update, "1", "17")
	wantFault(t, err, connectors.Lead, "another record")
}

func TestWhatSomebodyDeletedThereIsCreatedAgain(t *testing.T) {
	v, c := openSimple(t, nil, says{status: 404, body: `{"code":"no_such_person"}`}, says{status: 200, body: `{"ok":true,"id":18}`})
	ref, err := push(c, lead.Update, "1", "17")
	wantRef(t, "18", ref, err)
	v.wants(`PATCH /people/17 {"first":"Ada","phone":null}`, `POST /people {"ext":"lead_1","first":"Ada","phone":null}`)
}

func TestA404ThatNoRuleIsAboutIsNoMissingRecord(t *testing.T) {
	_, c := openSimple(t, nil, says{status: 404, body: `{"code":"no_such_account"}`})
	_, err := push(c, lead.Update, "1", "17")
	wantFault(t, err, connectors.Setup, "404")
}

func TestADeleteTakesWhatBelongsToTheRecordFirst(t *testing.T) {
	v, c := openSimple(t, nil,
		says{status: 200, body: `{"deals":[{"id":1},{"id":2}]}`}, says{status: 204}, says{status: 404, body: `{"code":"no_such_person"}`}, says{status: 204})
	ref, err := push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	v.wants(`GET /people/17/deals`, `DELETE /deals/1`, `DELETE /deals/2`, `DELETE /people/17`)

	v, c = openSimple(t, nil, says{status: 404, body: `{"code":"no_such_person"}`}, says{status: 404, body: `{"code":"no_such_person"}`})
	ref, err = push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	v.wants(`GET /people/17/deals`, `DELETE /people/17`)

	v, c = openSimple(t, nil)
	ref, err = push(c, lead.Delete, "1", "")
	wantRef(t, "", ref, err)
	v.wants()
}

func TestOnlyADeletedLeadIsErased(t *testing.T) {
	v, c := openSimple(t, map[string]any{"on_delete": "erase"}, says{status: 204}, says{status: 200, body: `{"deals":[]}`}, says{status: 204})
	ref, err := push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	leftOut := change(lead.Update, person("1"))
	leftOut.Op = lead.Delete
	ref, err = c.Push(context.Background(), leftOut, "17")
	wantRef(t, "", ref, err)
	v.wants(`POST /people/17/erase`, `GET /people/17/deals`, `DELETE /people/17`)
}

func TestT23AnErrorInside200IsNoSuccess(t *testing.T) {
	_, c := openSimple(t, nil, says{status: 200, body: `{"ok":false,"code":"bad","why":"1@example.com is not wanted, s3cret-t0ken"}`})
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Lead, "200 <redacted> is not wanted, <redacted>")

	_, c = openSimple(t, nil, says{status: 200, body: `{"ok":false,"code":"busy","seconds":7}`})
	_, err = push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Throttled, "200")
	if _, wait := connectors.FaultOf(err); wait.Seconds() != 7 {
		t.Errorf("to wait %s, want 7s", wait)
	}
}

func TestA2xxThatDoesNotSayThatItWasDoneIsUnknown(t *testing.T) {
	for name, body := range map[string]string{
		"another object": `{"hello":"world"}`, "a page": `<html>Welcome</html>`, "nothing": ``, "no id": `{"ok":true}`, "cut JSON": `{"ok":tr`,
	} {
		t.Run(name, func(t *testing.T) {
			_, c := openSimple(t, nil, says{status: 200, body: body})
			_, err := push(c, lead.Create, "1", "")
			wantFault(t, err, connectors.Unknown, "")
		})
	}
}

func TestAFieldTheVendorRefusesIsLeftOutOnce(t *testing.T) {
	refusal := says{status: 400, body: `{"code":"bad_phone","message":"phone 5 is no phone"}`}
	v, c := openSimple(t, nil, refusal, says{status: 200, body: `{"ok":true,"id":5}`})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "5", ref, err)
	v.wants(`POST /people {"ext":"lead_1","first":"Ada","phone":null}`, `POST /people {"ext":"lead_1","first":"Ada"}`)
	if !strings.Contains(v.log.String(), "field=phone") {
		t.Errorf("nothing is said of it: %s", v.log.String())
	}
	_, c = openSimple(t, nil, refusal, refusal)
	_, err = push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Lead, "400")
}

func TestAVendorThatSendsUsInCirclesIsLeft(t *testing.T) {
	var circle []says
	for range 3 {
		circle = append(circle, says{status: 409, body: `{"id":9}`}, says{status: 404, body: `{"code":"no_such_person"}`})
	}
	v, c := openSimple(t, nil, append(circle, says{status: 409, body: `{"id":9}`})...)
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Remote, "acme: create: the system sends us")
	v.got()
}

func TestAStepAfterwardsThatFailsIsTriedAgain(t *testing.T) {
	v, c := openSimple(t, map[string]any{"list": "l1"}, says{status: 200, body: `{"ok":true,"id":5}`}, says{status: 503}, says{status: 200, body: `{"ok":true,"id":5}`}, says{status: 204})
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Remote, "503")
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "5", ref, err)
	if got := v.got(); got[1] != `PUT /lists/l1/members/5` || got[3] != got[1] {
		t.Errorf("asked %q", got)
	}
}

func TestT25AFieldThatTheVendorDropsIsNamedOnce(t *testing.T) {
	answer := says{status: 200, body: `{"ok":true,"id":5,"kept":{"phone":null}}`}
	v, c := openSimple(t, nil, answer, answer)
	push(c, lead.Create, "1", "")
	push(c, lead.Create, "2", "")
	if n := strings.Count(v.log.String(), "field=first"); n != 1 {
		t.Errorf("it was named %d times:\n%s", n, v.log.String())
	}
	if strings.Contains(v.log.String(), "field=phone") {
		t.Error("a field that the lead has nothing for was named")
	}
}

func TestFindTellsThereIsNoneFromIDoNotKnow(t *testing.T) {
	_, c := openSimple(t, nil,
		says{status: 200, body: `{"people":[{"id":3}]}`}, says{status: 200, body: `{"people":[]}`}, says{status: 404, body: `{"code":"no_such_person"}`},
		says{status: 200, body: `{"oops":1}`}, says{status: 500}, says{status: 200, body: `{"people":[`})
	finder := c.(connectors.Finder)
	ref, found, err := finder.Find(context.Background(), lead.Lead{ID: "lead_1"})
	if ref != "3" || !found || err != nil {
		t.Errorf("got %q, %v, %v", ref, found, err)
	}
	for range 2 {
		if ref, found, err := finder.Find(context.Background(), lead.Lead{ID: "lead_1"}); ref != "" || found || err != nil {
			t.Errorf("got %q, %v, %v, want none", ref, found, err)
		}
	}
	for range 3 {
		if _, _, err := finder.Find(context.Background(), lead.Lead{ID: "lead_1"}); err == nil {
			t.Error("an answer that says nothing was taken for no record")
		}
	}
}

func TestCheckNamesTheFieldsThatAreNotThere(t *testing.T) {
	_, c := openSimple(t, nil, says{status: 200, body: `{"id":1,"fields":["first"]}`}, says{status: 200, body: `{"id":1,"fields":["first","phone"]}`}, says{status: 401, body: `{}`})
	wantFault(t, c.(connectors.Checker).Check(context.Background()), connectors.Setup, "there is no field phone")
	if err := c.(connectors.Checker).Check(context.Background()); err != nil {
		t.Error(err)
	}
	wantFault(t, c.(connectors.Checker).Check(context.Background()), connectors.Setup, "acme: check: 401")
}

// many is a vendor that takes three at a time, by an external id.
const many = top + `
fields: [{to: first, from: first_name}]
key: lead.id
verbs:
  check: {request: GET /me, success: answer.id != nil}
  upsert:
    max: 3
    request: PUT /people
    each: {key: "{{ lead.id }}", email: "{{ lead.email }}"}
    body: {people: "{{ each }}"}
    results: {from: answer.done, key: result.key}
    failures: {from: answer.failed, key: error.keys}
    ref: result.key
  delete:
    max: 2
    request: DELETE /people
    query: {"id[]": "{{ refs }}"}
errors:
  - {status: [200, 400], when: error.code == "bad", fault: lead}
`

func items(op lead.Op, ids ...string) (all []connectors.Item) {
	for _, id := range ids {
		ref := ""
		if op != lead.Create {
			ref = "lead_" + id
		}
		all = append(all, connectors.Item{Change: change(op, person(id)), Ref: ref})
	}
	return all
}

func TestABatchIsReadItemByItem(t *testing.T) {
	v := newVendor(t,
		says{status: 200, body: `{"done":[{"key":"lead_3"},{"key":"lead_1"}],"failed":[{"code":"bad","message":"2@example.com is bad","keys":["lead_2"]}]}`},
		says{status: 200, body: `{"done":[],"failed":[]}`})
	c := open(t, v, many, nil)
	b := c.(connectors.Batcher)
	if b.MaxBatch() != 3 {
		t.Errorf("MaxBatch is %d", b.MaxBatch())
	}
	results := b.PushBatch(context.Background(), items(lead.Create, "1", "2", "3", "4"))
	wantRef(t, "lead_1", results[0].Ref, results[0].Err)
	wantFault(t, results[1].Err, connectors.Lead, "acme: upsert: 200 <redacted> is bad")
	wantRef(t, "lead_3", results[2].Ref, results[2].Err)
	wantFault(t, results[3].Err, connectors.Unknown, "says nothing of this lead")
	v.wants(`PUT /people {"people":[{"email":"1@example.com","key":"lead_1"},{"email":"2@example.com","key":"lead_2"},{"email":"3@example.com","key":"lead_3"}]}`,
		`PUT /people {"people":[{"email":"4@example.com","key":"lead_4"}]}`)
}

func TestABatchThatFailsWholeIsSplitUntilTheBadOneIsAlone(t *testing.T) {
	bad := says{status: 400, body: `{"code":"bad"}`}
	v := newVendor(t, bad, says{status: 200, body: `{"done":[{"key":"lead_1"}]}`}, bad, bad, says{status: 200, body: `{"done":[{"key":"lead_3"}]}`})
	results := open(t, v, many, nil).(connectors.Batcher).PushBatch(context.Background(), items(lead.Create, "1", "2", "3"))
	wantRef(t, "lead_1", results[0].Ref, results[0].Err)
	wantFault(t, results[1].Err, connectors.Lead, "400")
	wantRef(t, "lead_3", results[2].Ref, results[2].Err)
	v.got()
}

func TestABatchThatFailsForEverybodyIsNotSplit(t *testing.T) {
	for status, fault := range map[int]connectors.Fault{401: connectors.Setup, 429: connectors.Throttled, 500: connectors.Remote, 0: connectors.Unknown} {
		v := newVendor(t, says{status: status})
		for _, result := range open(t, v, many, nil).(connectors.Batcher).PushBatch(context.Background(), items(lead.Create, "1", "2", "3")) {
			wantFault(t, result.Err, fault, "acme: upsert: ")
		}
		v.got()
	}
}

func TestT3TwoLeadsOfOneAddressDoNotMeetInABatch(t *testing.T) {
	v := newVendor(t, says{status: 200, body: `{"done":[{"key":"lead_1"},{"key":"lead_3"}]}`}, says{status: 200, body: `{"done":[{"key":"lead_2"}]}`})
	batch := items(lead.Create, "1", "2", "3")
	batch[1].Change.Lead.Email = "1@EXAMPLE.com"
	for _, result := range open(t, v, many, nil).(connectors.Batcher).PushBatch(context.Background(), batch) {
		if result.Err != nil {
			t.Error(result.Err)
		}
	}
	v.wants(`PUT /people {"people":[{"email":"1@example.com","key":"lead_1"},{"email":"3@example.com","key":"lead_3"}]}`,
		`PUT /people {"people":[{"email":"1@EXAMPLE.com","key":"lead_2"}]}`)
}

func TestABatchOfDifferentChangesGoesVerbByVerb(t *testing.T) {
	v := newVendor(t, says{status: 200, body: `{"done":[{"key":"lead_1"},{"key":"lead_3"}]}`}, says{status: 204}, says{status: 204})
	batch := append(items(lead.Create, "1"), items(lead.Delete, "2", "4", "5")...)
	batch = append(batch, items(lead.Update, "3")...)
	for _, result := range open(t, v, many, nil).(connectors.Batcher).PushBatch(context.Background(), batch) {
		if result.Err != nil {
			t.Error(result.Err)
		}
	}
	v.wants(`PUT /people {"people":[{"email":"1@example.com","key":"lead_1"},{"email":"3@example.com","key":"lead_3"}]}`,
		`DELETE /people?id%5B%5D=lead_2&id%5B%5D=lead_4`, `DELETE /people?id%5B%5D=lead_5`)
}

func TestADeleteAfterALostUpsertGoesByTheLeadsIDWhereThatIsTheKey(t *testing.T) {
	recipe := top + `
key: lead.id
verbs:
  check: {request: GET /me}
  upsert: {request: "PUT /people/{{ key }}", body: {}}
  delete: {request: "DELETE /people/{{ ref }}"}
`
	v := newVendor(t, says{}, says{status: 204})
	c := open(t, v, recipe, nil)
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Unknown, "no whole answer")
	ref, err := push(c, lead.Delete, "1", "")
	wantRef(t, "", ref, err)
	v.wants(`PUT /people/lead_1 {}`, `DELETE /people/lead_1`)
}

func TestARecordWhoseKeyChangesIsMoved(t *testing.T) {
	byAddress := strings.Replace(strings.Replace(many, "key: lead.id", "key: sha256(normal_email(lead.email))", 1), `key: "{{ lead.id }}"`, `key: "{{ key }}"`, 1)
	byAddress = strings.Replace(byAddress, "results: {from: answer.done, key: result.key}", "results: {from: answer.done}", 1)
	v := newVendor(t, says{status: 200, body: `{"done":[{}]}`}, says{status: 204})
	c := open(t, v, byAddress, nil)
	l := person("1")
	key := c.(connectors.Keyed).Key(l)
	ref, err := c.Push(context.Background(), change(lead.Update, l), "old")
	wantRef(t, key, ref, err)
	got := v.got()
	if len(got) != 2 || got[1] != `DELETE /people?id%5B%5D=old` {
		t.Errorf("asked %q", got)
	}
}

// told is a vendor that is told of events.
const told = top + `
event: true
settings: [{name: hook, secret: true, required: true, help: the address}]
verbs:
  check: {request: GET /, success: answer != nil}
  create:
    request: POST /hooks/{{ settings.hook }}
    body: {text: "New lead: {{ escape_html(lead.name) }} ({{ change.id }})"}
    success: answer == "ok"
`

func TestAnEventConnectorTellsWhatItsRecipeHasAVerbFor(t *testing.T) {
	v := newVendor(t, says{status: 200, body: "ok"}, says{status: 200, body: "no"})
	c := open(t, v, told, map[string]any{"hook": "T/../x y"})
	l := person("1")
	l.Name = `<b>&"`
	if _, err := c.Push(context.Background(), change(lead.Create, l), ""); err != nil {
		t.Error(err)
	}
	for _, op := range []lead.Op{lead.Update, lead.Delete} {
		if _, err := push(c, op, "1", ""); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Unknown, "")
	if got := v.got()[0]; got != `POST /hooks/T%2F..%2Fx%20y {"text":"New lead: \u0026lt;b\u0026gt;\u0026amp;\u0026#34; (chg_lead_1)"}` {
		t.Errorf("asked %s", got)
	}
}

// choosy is a vendor that says its failures in two shapes, and of whom it says nothing is gone.
const choosy = top + `
settings: [{name: field, default: ext, help: of the id}]
fields: [{to: first, from: first_name}]
verbs:
  check: {request: GET /me, success: answer.id != nil}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id"}
  upsert:
    max: 3
    request: PUT /people
    each: "{{ lead.id }}"
    body: "{{ each }}"
    results: {from: answer.done, key: "result[settings.field]"}
    ref: result.id
  update:
    max: 3
    request: PATCH /people
    before: [{request: "POST /people/{{ ref }}/reset"}]
    each: "{{ ref }}"
    body: "{{ each }}"
    results: {from: answer.done, key: result.id, item: ref, gone: true}
    failures: {from: answer.failed, key: "error.trace ?? error.ids", item: "[lead.id, ref]"}
    ref: result.id
  delete: {request: "DELETE /people/{{ ref }}"}
error: "let e = error.errors[0] ?? error[0]; {code: e.code, message: e.message}"
errors:
  - {status: 404, verbs: [update], when: error.code == "none", gone: true}
  - {when: error.code == "bad", fault: lead}
`

func TestEachOfABatchIsToldByWhatTheRecipeSays(t *testing.T) {
	v := newVendor(t,
		says{status: 204}, says{status: 404, body: `[{"code":"none"}]`}, says{status: 204}, // a step that misses its record leaves that to the verb
		says{status: 200, body: `{"done":[{"id":1}],"failed":[{"ids":["2"],"errors":[{"code":"bad","message":"by its id"}]}]}`},
		says{status: 200, body: `{"done":[{"id":9,"ext":"lead_3"}]}`})
	batch := items(lead.Update, "1", "2", "3")
	for i := range batch {
		batch[i].Ref = batch[i].Ref[len("lead_"):]
	}
	results := open(t, v, choosy, nil).(connectors.Batcher).PushBatch(context.Background(), batch)
	wantRef(t, "1", results[0].Ref, results[0].Err)
	wantFault(t, results[1].Err, connectors.Lead, "acme: update: 200 by its id: bad")
	wantRef(t, "9", results[2].Ref, results[2].Err)
	v.wants("POST /people/1/reset", "POST /people/2/reset", "POST /people/3/reset", `PATCH /people ["1","2","3"]`, `PUT /people ["lead_3"]`)
}

func TestOneElementIsAboutOneLead(t *testing.T) {
	v := newVendor(t, says{status: 200, body: `{"done":[{"id":7}]}`}, says{status: 200, body: `{"done":[{"id":7},{"id":8}]}`})
	c := open(t, v, choosy, nil)
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "7", ref, err)
	for _, result := range c.(connectors.Batcher).PushBatch(context.Background(), items(lead.Create, "1", "2")) {
		wantFault(t, result.Err, connectors.Unknown, "says nothing of this lead")
	}
}

func TestTheRecipeSaysWhichPartOfAFailureSaysWhy(t *testing.T) {
	for body, want := range map[string]string{
		`[{"code":"bad","message":"in a list"}]`:            "422 in a list: bad",
		`{"errors":[{"code":"bad","message":"in errors"}]}`: "422 in errors: bad",
		`[{"code":"new","message":"no rule"}]`:              "422 no rule: new",
		`"another shape"`:                                   "422 Unprocessable Entity",
		`[[], 7]`:                                           "422 Unprocessable Entity",
	} {
		_, err := push(open(t, newVendor(t, says{status: 422, body: body}), choosy, nil), lead.Create, "1", "")
		wantFault(t, err, connectors.Lead, want)
	}
}
