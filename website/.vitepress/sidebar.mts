import type { DefaultTheme } from 'vitepress'

// The one list of the site's pages, in reading order. site_test.go holds it against the
// pages that there are: each page stands here once, and each line is a page.
type Section = { text: string, items: { text: string, link: string }[] }

const sections: Section[] = [
  {
    text: 'Get started',
    items: [
      { text: 'In ten minutes', link: '/get-started/' },
      { text: 'Install', link: '/get-started/install' },
      { text: 'A hub and a relayer', link: '/get-started/hub-and-relayer' },
      { text: 'A first application', link: '/get-started/first-application' },
    ],
  },
  {
    text: 'Concepts',
    items: [
      { text: 'Overview', link: '/concepts/' },
      { text: 'Namespaces', link: '/concepts/namespaces' },
      { text: 'Log and positions', link: '/concepts/log-and-positions' },
      { text: 'Data models', link: '/concepts/data-models' },
      { text: 'Transactions', link: '/concepts/transactions' },
      { text: 'Time to live', link: '/concepts/time-to-live' },
      { text: 'Replication', link: '/concepts/replication' },
      { text: 'Relayers and edges', link: '/concepts/relayers-and-edges' },
      { text: 'Notifications', link: '/concepts/notifications' },
      { text: 'Control plane', link: '/concepts/control-plane' },
      { text: 'Retention and snapshots', link: '/concepts/retention-and-snapshots' },
    ],
  },
  {
    text: 'Topologies',
    items: [
      { text: 'Which one', link: '/topologies/' },
      { text: 'Single server', link: '/topologies/single-server' },
      { text: 'Primary and replicas', link: '/topologies/primary-and-replicas' },
      { text: 'Hub and spoke', link: '/topologies/hub-and-spoke' },
      { text: 'Several hubs', link: '/topologies/multi-hub' },
      { text: 'Several hops', link: '/topologies/multi-hop' },
      { text: 'Hybrid, with notifications', link: '/topologies/hybrid' },
    ],
  },
  {
    text: 'Use cases',
    items: [
      { text: 'Overview', link: '/use-cases/' },
      { text: 'Inference at the edge', link: '/use-cases/edge-inference' },
      { text: 'Agents with shared state', link: '/use-cases/agents' },
      { text: 'Event-driven service', link: '/use-cases/event-driven' },
      { text: 'Synced cache', link: '/use-cases/synced-cache' },
      { text: 'CRDTs over two hubs', link: '/use-cases/crdt' },
    ],
  },
  {
    text: 'Guides: run it',
    items: [
      { text: 'Run with systemd', link: '/guides/run-with-systemd' },
      { text: 'Run in a container', link: '/guides/run-in-a-container' },
      { text: 'Secure with TLS', link: '/guides/secure-with-tls' },
      { text: 'Monitor', link: '/guides/monitor' },
      { text: 'Size a node', link: '/guides/size-a-node' },
      { text: 'Troubleshoot', link: '/guides/troubleshoot' },
      { text: 'Run several hubs', link: '/guides/multi-hub' },
      { text: 'Namespaces that an edge owns', link: '/guides/edge-ownership' },
      { text: 'Use the operator API', link: '/guides/operator-api' },
      { text: 'Shell completion', link: '/guides/shell-completion' },
    ],
  },
  {
    text: 'Guides: build on it',
    items: [
      { text: 'Read your writes', link: '/guides/read-your-writes' },
      { text: 'Subscribe with ZeroMQ', link: '/guides/subscribe-with-zeromq' },
      { text: 'Publish to MQTT', link: '/guides/publish-to-mqtt' },
      { text: 'Receive webhooks', link: '/guides/receive-webhooks' },
      { text: 'Search vectors', link: '/guides/vector' },
      { text: 'Write a notifier', link: '/guides/write-a-notifier' },
      { text: 'Write a data model', link: '/guides/write-a-data-model' },
    ],
  },
  {
    text: 'Architecture',
    items: [
      { text: 'Overview', link: '/architecture/' },
      { text: 'Write path', link: '/architecture/write-path' },
      { text: 'Storage', link: '/architecture/storage' },
      { text: 'Replication', link: '/architecture/replication' },
      { text: 'Control plane', link: '/architecture/control-plane' },
      { text: 'Plugins', link: '/architecture/plugins' },
    ],
  },
  {
    text: 'Reference',
    items: [
      { text: 'Overview', link: '/reference/' },
      { text: 'Configuration', link: '/reference/configuration' },
      { text: 'Commands', link: '/reference/commands' },
      { text: 'HTTP', link: '/reference/http' },
      { text: 'Errors', link: '/reference/errors' },
      { text: 'Metrics', link: '/reference/metrics' },
      { text: 'gRPC', link: '/reference/grpc' },
      { text: 'Notifications', link: '/reference/notifications' },
      { text: 'Files', link: '/reference/files' },
    ],
  },
  {
    text: 'About',
    items: [
      { text: 'Guarantees and limits', link: '/guarantees' },
      { text: 'Comparison', link: '/compare' },
      { text: 'Upgrades and formats', link: '/upgrade' },
      { text: 'Glossary', link: '/glossary' },
    ],
  },
]

// On a page of a section the sidebar shows the section's pages and, of the others, the first
// page: groups that fold would be buttons within buttons, which screen readers can't tell apart.
function sidebarOf(folder: string): DefaultTheme.SidebarItem[] {
  return sections.map((section) =>
    section.text === 'About' || folderOf(section) === folder
      ? section
      : { text: section.text, link: section.items[0].link })
}

function folderOf(section: Section): string {
  return section.items[0].link.match(/^\/[^/]*\//)?.[0] ?? '/'
}

export const sidebar: DefaultTheme.SidebarMulti = Object.fromEntries(
  sections.map(folderOf).map((folder) => [folder, sidebarOf(folder)]),
)

export const nav: DefaultTheme.NavItem[] = [
  { text: 'Get started', link: '/get-started/', activeMatch: '^/get-started/' },
  { text: 'Concepts', link: '/concepts/', activeMatch: '^/concepts/' },
  { text: 'Topologies', link: '/topologies/', activeMatch: '^/topologies/' },
  { text: 'Use cases', link: '/use-cases/', activeMatch: '^/use-cases/' },
  { text: 'Reference', link: '/reference/', activeMatch: '^/reference/' },
  { text: 'Guarantees', link: '/guarantees' },
]
