"""What the demonstration asks of the API."""

RUN = """
fragment Run on ImportRun {
  id state stoppedBy checks startedAt finishedAt
  counts { read created updated unchanged skipped waiting failed }
  error { code message }
}
"""

CONNECT_SERVICE = """
mutation ConnectService($input: ConnectServiceInput!) {
  changed: connectService(input: $input) {
    object: externalAccount { id }
    userErrors { code field message }
  }
}
"""

SERVICES = """
query Services {
  services { key authorizations credentialsSchema authorizationSchema }
}
"""

START_SERVICE_AUTHORIZATION = """
mutation StartServiceAuthorization($input: StartServiceAuthorizationInput!) {
  changed: startServiceAuthorization(input: $input) {
    authorizationUrl
    object: serviceAuthorization { id }
    userErrors { code field message }
  }
}
"""

SERVICE_AUTHORIZATION = """
query ServiceAuthorization($id: ID!) {
  serviceAuthorization(id: $id) {
    state
    externalAccount { id }
    userErrors { message }
  }
}
"""

CREATE_LIST = """
mutation CreateList($input: CreateListInput!) {
  changed: createList(input: $input) {
    object: list { id }
    userErrors { code field message }
  }
}
"""

CREATE_TAG = """
mutation CreateTag($input: CreateTagInput!) {
  changed: createTag(input: $input) {
    object: tag { id }
    userErrors { code field message }
  }
}
"""

CREATE_AUTOMATIC_IMPORT = """
mutation CreateAutomaticImport($input: CreateAutomaticImportInput!) {
  changed: createAutomaticImport(input: $input) {
    object: automaticImport { id }
    userErrors { code field message }
  }
}
"""

PROGRESS = f"""
subscription Progress($id: ID!) {{
  importRunProgress(automaticImportId: $id) {{ ...Run }}
}}
{RUN}
"""

STATUS = f"""
query Status($id: ID!) {{
  node(id: $id) {{
    ... on AutomaticImport {{
      backlog {{ remaining }}
      lastRun {{ ...Run }}
      nextRunAt
      externalAccount {{ cap {{ limit used windowEndsAt }} }}
    }}
  }}
}}
{RUN}
"""

RESULT = f"""
query Result($id: ID!) {{
  account {{ contactUsage {{ active }} }}
  node(id: $id) {{
    ... on AutomaticImport {{
      importedContactCount
      runs(first: 50) {{
        edges {{ node {{ ...Run }} }}
        pageInfo {{ hasNextPage }}
      }}
    }}
  }}
}}
{RUN}
"""

# A skipped record has an outcome in the run that skipped it first, and the ledger keeps it.
SKIPPED_OUTCOMES = """
query SkippedOutcomes($id: ID!, $after: String) {
  node(id: $id) {
    ... on ImportRun {
      found: outcomes(first: 100, after: $after, filter: { outcome: SKIPPED }) {
        edges { node { code } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""

SKIPPED_RECORDS = """
query SkippedRecords($id: ID!, $after: String) {
  node(id: $id) {
    ... on AutomaticImport {
      found: records(first: 100, after: $after, filter: { state: SKIPPED }) {
        edges { node { code } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""

CONTACTS = """
query Contacts($after: String) {
  found: contacts(first: 100, after: $after, orderBy: CREATED_AT_ASC) {
    edges { node { email } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
