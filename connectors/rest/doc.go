// Package rest executes recipes: YAML files that say, in a vendor's own terms, how the records of its REST API are
// kept in step with leads. connectors/recipes has those that come with leadrelay; an operator's own is used so:
//
//	connectors:
//	  - name: crm
//	    type: rest
//	    settings:
//	      recipe: acme.yaml           # a path, or the text itself after `recipe: |`
//	      api_key_file: /run/secrets/acme
//
// `leadrelay connectors schema` prints the format as a JSON Schema that editors complete and check by; its
// descriptions are the reference. In short:
//
//	name: acme
//	title: Acme CRM contacts
//	docs: https://developers.acme.example/contacts
//	settings:
//	  - {name: api_key, secret: true, required: true, help: "Settings, API"}
//	base_url: https://api.acme.example
//	auth: {bearer: "{{ settings.api_key }}"}
//	fields: [{to: first_name, from: first_name}, {to: last_name, from: last_name}]
//	verbs:
//	  check: {request: GET /v1/me, success: answer.id != nil, example: {id: 1}}
//	  find:
//	    request: GET /v1/contacts
//	    query: {external_id: "{{ lead.id }}"}
//	    success: answer.data != nil
//	    ref: answer.data[0].id
//	    example: {data: [{id: "{{ ref }}"}]}
//	  create:
//	    request: POST /v1/contacts
//	    body: {external_id: "{{ lead.id }}", email: "{{ lead.email }}", "...": "{{ fields }}"}
//	    ref: answer.id
//	    example: {id: "{{ ref }}"}
//	  update:
//	    request: PATCH /v1/contacts/{{ ref }}
//	    body: {email: "{{ lead.email }}", "...": "{{ fields }}"}
//	    success: answer.id != nil
//	    example: {id: "{{ ref }}"}
//	  delete: {request: "DELETE /v1/contacts/{{ ref }}", success: status == 204}
//	errors:
//	  - {status: 404, verbs: [update, delete], gone: true, example: {error: no such contact}}
//	  - {status: 409, exists: answer.id, example: {id: "{{ ref }}", error: there is one of this address}}
//
// # Templates and expressions
//
// A template is a text with {{ expressions }}; one that is a single expression keeps its type in a JSON body. Values
// are escaped for where they stand: in a path they stay one segment, in a body they are JSON, in a header they cannot
// end it. What an expression names and the answer does not have is nil, at any depth. Personal data in a path or a
// query is refused when the recipe is read, but for digests of it. Beside the language's own functions
// (https://expr-lang.org/docs/language-definition) there are:
//
//	md5(x) sha256(x) base64(x)   hexadecimal digests; base64
//	text(x) normal_email(x)      x as text; an address in lower case, without space around it
//	escape_html(x)               & < > and quotes as entities
//	capture(x, pattern)          what the first group of a regular expression finds, or nil
//	chunks(x, n)                 a text in parts of at most n characters
//	merge(a, b, …) compact(x)    one mapping of several; without what is nil or ""
//
// # What a check asks
//
// The verb check says with `fields` how the vendor lists its fields, page by page, and with `requires` what an answer
// must say, such as a right or the field for the lead's id; its `then` makes more requests, each with `requires` of its
// own, `mend` says what to do about a refusal, and `optional` that a refusal means nothing. All that is missing is told
// at once:
//
//	check:
//	  request: GET /v1/fields
//	  query: {cursor: "{{ page }}"}
//	  success: answer.fields != nil
//	  mend: "give the key the right to read fields: Settings, API"
//	  fields:
//	    list: answer.fields
//	    next: answer.cursor
//	    name: field.key
//	    writable: field.locked != true
//	    takes: '{int: "number", flag: "bool"}[field.type] ?? field.options'
//	    mend: "make it under Settings, Fields"
//	  requires:
//	    - that: any(listed, .key == "external_id")
//	      otherwise: "there is no field external_id: make it under Settings, Fields"
//	      example: {fields: []}
//	  then:
//	    - request: GET /v1/me
//	      success: answer.rights != nil
//	      optional: true
//	      requires: [{that: '"write" in answer.rights', otherwise: "the key may only read: make another"}]
//	      example: {rights: [read, write]}
//	  example: {fields: [{key: external_id}, {key: first_name}, {key: last_name}]}
//
// record_url says where people see a record, by its ref and settings that are no secrets:
// https://acme.example/contacts/{{ ref }}.
//
// # What the engine does by itself
//
// It adopts a record that is there already, creates one again that somebody deleted there, splits a batch that fails
// because of one lead until that is alone, keeps two leads of one address out of one batch, gets access tokens once
// for all workers, spends the vendor's limits over all workers, and holds back what a vendor repeats of personal data
// and secrets.
//
// # Trying a recipe
//
// StandIn is the vendor as the recipe has it: with the examples of its answers, which the recipe gives beside each verb
// and rule, `leadrelay connectors conformance acme.yaml` holds the recipe to what every connector promises. A rule of
// gone or exists needs an example for that; unique says what no two of the vendor's records share.
package rest
